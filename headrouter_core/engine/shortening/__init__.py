"""Leaving tokens out: of states, positions, caches, masks and losses."""
