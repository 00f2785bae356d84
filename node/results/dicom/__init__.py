"""Results as DICOM objects: structured report, picture, masks, presentation state, rejection note."""
