"""The two ways to prune: inside a running model, and before its first layer."""
