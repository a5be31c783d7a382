"""A real vLLM on loopback, with headrouter in it: the checkpoint, the server, and the load."""
