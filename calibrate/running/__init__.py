"""How long commands run: what is done is on disk, and is not done again."""
