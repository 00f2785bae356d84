"""What this node asks of a PACS: queries, retrieval, and what is to be fetched."""
