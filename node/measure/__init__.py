"""The measurement as the step, the commands and the pictures share it."""
