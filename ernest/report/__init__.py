"""What a run found: which experts are used by whom, the scores as tables, and the report with pictures."""
