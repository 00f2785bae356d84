"""What a night asks of the cohort: cut-offs, drift, shift."""
