"""vLLM's audio models, pruned: what they have in common, and one module a family."""
