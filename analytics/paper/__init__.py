"""The paper's analyses of a cohort table."""
