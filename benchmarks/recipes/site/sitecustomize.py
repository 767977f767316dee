"""Makes the recipe of the benchmarks known to every process that has this folder on its PYTHONPATH."""

from pathlib import Path

import search_spaces
import trainables

for package in (search_spaces, trainables):
    package.__path__.append(str(Path(__file__).parent.parent / package.__name__))
