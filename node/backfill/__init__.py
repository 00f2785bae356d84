"""The measurement of a whole archive, in as many processes as there are."""
