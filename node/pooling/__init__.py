"""Several sites' model without moving a patient's row: what a site gives away, and what comes of several such files."""
