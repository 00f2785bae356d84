"""The pages: worklist, reading room, the surgeon's list. They write through ``node.people`` alone."""
