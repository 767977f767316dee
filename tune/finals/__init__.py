"""The finals: the best configurations and published rows, trained with several seeds and tested once; statistics."""
