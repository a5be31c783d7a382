"""Putting every item to a model, with every method at every ratio."""
