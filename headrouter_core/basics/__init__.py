"""What every room uses: checks of arguments, float32 or better, files written in one step."""
