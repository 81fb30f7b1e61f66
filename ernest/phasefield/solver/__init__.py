"""One run, from a flow and a first field to a solution: what it chooses, how it steps, what it keeps and tells."""
