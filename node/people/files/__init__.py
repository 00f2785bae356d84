"""Cohort tables as people have them: formats, dialects, names, values, and the mapping that settles them."""
