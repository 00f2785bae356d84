"""Small idempotent derivations: index, interpret, measure, link. Each asks the database what is missing."""
