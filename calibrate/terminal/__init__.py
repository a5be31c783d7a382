"""The process and its terminal: what is printed, how it ends, and which files it leaves."""
