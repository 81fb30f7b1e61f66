"""How snapshots lie on a disk."""
