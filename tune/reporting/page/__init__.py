"""The HTML pages: the report of one experiment, and the comparison of several."""
