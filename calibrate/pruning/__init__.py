"""What ``headrouter prune`` does: ask about recordings with most audio tokens removed."""
