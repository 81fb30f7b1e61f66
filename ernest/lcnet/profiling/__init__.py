"""What a network costs: counted, timed and compared with what the processor allows."""
