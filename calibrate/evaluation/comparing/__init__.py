"""What differs for certain: the answers of all systems side by side."""
