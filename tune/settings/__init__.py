"""What a person asks of a search: settings and presets."""
