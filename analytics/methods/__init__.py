"""Statistical methods that know nothing of this study."""
