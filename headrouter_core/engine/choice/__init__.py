"""Choosing tokens: what the probe layer shows, what a selector says, what is remembered."""
