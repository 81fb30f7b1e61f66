"""What experts specialise in, beside the report's findings."""
