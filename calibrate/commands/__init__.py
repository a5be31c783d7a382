"""The commands' options; what a command does is imported when it runs."""
