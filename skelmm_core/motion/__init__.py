"""Generated motion: performers, actions and cameras behind the built-in sample (`skelmm_core.sources.sample`)."""
