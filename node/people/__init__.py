"""What people say, as facts: readings, imports, identity, thresholds, quarantine."""
