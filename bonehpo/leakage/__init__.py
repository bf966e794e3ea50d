"""Leakage: slices that show what a network has seen although they are held out."""
