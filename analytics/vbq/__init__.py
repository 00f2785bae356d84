"""Vertebral bone quality: from circles on a T1 slice to a score."""
