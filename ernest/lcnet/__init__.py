"""PP-LCNet: a vision network made for CPUs."""
