"""What makes long films, and a training that begins with few bits."""
