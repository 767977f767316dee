"""The terminal: the console of a search, spinners, and readable times."""
