"""What each command can be asked: its options, as the dataclass that it is given."""
