"""Operation: the state of the node, its checks, and its repair."""
