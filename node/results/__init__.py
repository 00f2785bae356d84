"""Results: what is told of a series, kept as it was rendered for each destination, and what is due."""
