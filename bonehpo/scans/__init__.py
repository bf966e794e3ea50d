"""Scans as labs have them: the table that names them, and volumes in their file formats."""
