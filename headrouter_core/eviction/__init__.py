"""Evicting from the cache what the KV heads do not need, per head and for real."""
