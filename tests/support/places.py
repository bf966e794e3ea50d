"""Folders of the project, wherever a test lies."""

from pathlib import Path

PROJECT = Path(__file__).parents[2]
SUPPORT = PROJECT / "tests" / "support"
DOCS = PROJECT / "docs"
SHARED_DATA = PROJECT.parent / "shared" / "data"
"""Real images; tests that need them say so where they are missing."""
