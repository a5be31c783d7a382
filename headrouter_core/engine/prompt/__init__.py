"""Reading a prompt: where its audio and text are, and how much of it stays."""
