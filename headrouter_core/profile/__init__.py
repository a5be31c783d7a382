"""Profiles: what they hold, the file they are in, and where they come from."""
