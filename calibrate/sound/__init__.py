"""Sound: from any file, pipe or stream to float32 mono samples at the rate that a model takes."""
