"""Running only the layers that a choice of tokens changes, for many choices at once."""
