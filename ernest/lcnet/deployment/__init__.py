"""A trained network in a runtime: exported, quantised, verified and timed."""
