"""Verifiers, which say whether an output is right: exact rules and learned judges."""
