"""The language of search spaces: domains, conditions, the shape of the data, and how recipes are found."""
