"""Public data sets, downloaded into folders that `--data` reads."""
