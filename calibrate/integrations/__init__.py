"""Other people's evaluation harnesses: one folder each, none of them a dependency."""
