"""The terminal: the console of a search, spinners, and times as people read them."""
