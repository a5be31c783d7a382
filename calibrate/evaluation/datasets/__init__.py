"""Readers: one file a set of recordings and questions."""
