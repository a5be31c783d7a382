"""What is asked, how answers are read, and how they are scored."""
