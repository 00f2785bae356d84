"""The outgoing role: what this node asks other DICOM nodes, and what it sends on to them."""
