"""Fetching from a server on this machine, which fails as it is told."""
