"""The language of search spaces: domains, conditions, the shape of the data, and the discovery of recipes."""
