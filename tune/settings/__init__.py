"""The settings and presets of a search."""
