"""The commands, by subject. They parse, call one function of the node, and show; nothing is decided here."""
