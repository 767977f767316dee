"""`python -m tune.tracking ...`: the process that `tracked` starts beside a search."""

import sys

from tune.tracking.follower import main

if __name__ == "__main__":
    main(sys.argv[1:])
