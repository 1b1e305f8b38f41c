"""Blocks beside Sionna's on whatever can be drawn."""
