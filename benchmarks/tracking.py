"""Cost of W&B for each trial: a search with `--wandb online` against the same search without it.

    python benchmarks/tracking.py [--repeats 3]

The searches are those of `overhead_ours.py`: 60 trivial trials, two at a time on two cores, which leave nothing idle
that W&B's process could use unnoticed. The server is the tests' stand-in, which answers at once. The time of a trial is
the slope of wall time between trial 20 and trial 60. The total cost of W&B, which includes sending the rest after the
last trial, is the difference between the whole processes, divided by the trials.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tests.wandb_server import wandb_server  # noqa: E402

FEW, MANY, EPOCHS = 20, 60, 3
TARGET = 0.1


def search(environment: Mapping[str, str], *options: str) -> tuple[float, float]:
    """Run one search in its own process; return the seconds a trial, by slope and by total."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="toprung-tracking-") as folder:
        done = subprocess.run(
            [sys.executable, str(HERE / "overhead_ours.py"), str(MANY), str(EPOCHS), folder, *options],
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
        )
    if done.returncode:
        sys.exit(f"{done.stdout[-2000:]}{done.stderr[-4000:]}")
    ends = sorted(json.loads(done.stdout.strip().splitlines()[-1])["ends"])
    return (ends[MANY - 1] - ends[FEW - 1]) / (MANY - FEW), (time.perf_counter() - began) / MANY


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="measure this often and take medians")
    repeats = parser.parse_args().repeats
    with_it, without = [], []
    for _ in range(repeats):
        without.append(search({}))
        with wandb_server() as server:
            with_it.append(search(server.environment, "--wandb"))
            assert len(server.of_type("trial")) == MANY
        print(f"  without {without[-1][0]:.3f} s a trial, with {with_it[-1][0]:.3f}", flush=True)
    meanwhile, of_all = (
        median(with_w - without_w for with_w, without_w in zip(figures, base, strict=True))
        for figures, base in zip(zip(*with_it, strict=True), zip(*without, strict=True), strict=True)
    )
    print(f"tracking: {meanwhile:.3f} s a trial while it searches, {of_all:.3f} with what is sent at the end")
    print(f"(target {TARGET})")


if __name__ == "__main__":
    main()
