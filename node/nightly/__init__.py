"""The night: refit, thresholds, flags, report, outbox."""
