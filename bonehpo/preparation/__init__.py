"""Preparation: from scans to slices, by one recipe for all."""
