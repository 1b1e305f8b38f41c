"""Notebooks, paired with scripts of the same name; ``python -m notebooks`` executes them."""
