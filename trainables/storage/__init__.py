"""Files that appear whole or not at all, and folders with a copy in a bucket."""
