"""An experiment on disk: its folder, study, trials, input variants and locks."""
