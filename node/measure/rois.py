"""Keys of a file of circles beside its regions: what `reading show` writes and `reading add` takes."""

SLICE = "slice"
"""InstanceNumber of the image, 1-based."""
FRAME = "frame"
"""Frame of a multi-frame image, 1-based."""
