"""A made-up hospital that knows what is true of its patients, and what its systems get wrong."""
