"""Blood counts: results in, one count per specimen out."""
