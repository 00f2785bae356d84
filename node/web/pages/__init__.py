"""The pages, a module a subject: what is shown, and what a person may settle there."""
