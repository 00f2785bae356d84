"""Who starts whom: the supervisor, the roles and what watches them."""
