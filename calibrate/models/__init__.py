"""Models: found by name, checked, loaded, and asked."""
