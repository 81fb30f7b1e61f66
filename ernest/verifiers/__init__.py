"""What says whether an output is right: exact rules and learned judges."""
