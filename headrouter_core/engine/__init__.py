"""One pruned forward pass, exactly: its prompt, the choice, and what later layers see."""
