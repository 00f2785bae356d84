"""The sections of the nightly report, each a module and its two templates, and their order."""
