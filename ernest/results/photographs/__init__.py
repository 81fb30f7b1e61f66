"""The rules of PP-LCNet, each added and left out, on photographs."""
