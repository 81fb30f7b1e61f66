"""A trained model at work: drafts, and fewer experts a token."""
