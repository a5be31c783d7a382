"""What ``headrouter plan`` does: say what will be heard and what it costs, before it runs."""
