"""How small-omni's adapter is trained: questions, data, losses, and the loop."""
