"""The planner: what a recipe needs of devices, on paper, from sizes alone and without torch."""
