"""What a profile holds, and which families there are, for people."""
