"""Comparisons and explanations of a study: each a result that is resumable, recorded, and drawn from its own files."""
