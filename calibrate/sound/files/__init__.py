"""Sound files: where they come from, where they end, and what FFmpeg makes of them."""
