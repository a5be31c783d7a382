"""Whose hooks run on a model: each thread and task has its own."""
