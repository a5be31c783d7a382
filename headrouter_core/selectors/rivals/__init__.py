"""Methods that are there to compare with."""
