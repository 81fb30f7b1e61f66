"""Packages that tests do without where they are missing, and the files of Ernest that are made of them."""

OPTIONAL = ("transformers",)
MADE_OF = {f"ernest.export.{name}" for name in ("columns", "config", "hf", "modelling", "processor", "text")}
"""What they are for is to be that library's classes, so they import it at their top."""


def is_missing(error: ImportError) -> bool:
    """Whether an import failed for want of an optional package."""
    return error.name in OPTIONAL
