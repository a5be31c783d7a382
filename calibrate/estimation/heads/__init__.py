"""Head scores for eviction: which KV heads follow speech, measured and put into a profile."""
