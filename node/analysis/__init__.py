"""The paper's analysis of a cohort as tables, files and one page."""
