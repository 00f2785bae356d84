"""One planned operation: what belongs to it, who is eligible, what counts as high."""
