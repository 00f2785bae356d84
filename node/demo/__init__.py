"""A small hospital that plays PACS, laboratory, scheduling and mail server against a real node."""
