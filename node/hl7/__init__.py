"""HL7 v2 in: framing, the listener, and what a message says."""
