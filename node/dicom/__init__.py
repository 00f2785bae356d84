"""DICOM in: the receiver and the reading of headers and pixels."""
