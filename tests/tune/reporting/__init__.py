"""Reports of experiments that were made up."""
