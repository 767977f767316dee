"""An experiment on disk: its folder, study, trials, data variants and locks."""
