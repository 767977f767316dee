"""What a trial costs beside its training: this project against plain Ray Tune, in seconds a trial.

    python benchmarks/overhead.py [--repeats 1] [--same-work] [--profile]

Both search the same four parameters by TPE and ASHA, two trials at a time, three epochs at most, in a Ray session of
their own. Timed is `Tuner.fit`. Two sizes of search tell the seconds that each further trial takes, (t60 - t20) / 40,
from those that are spent once (start-up, what is left of t20: the first workers start and import).

Plain Ray Tune (`overhead_plain.py`) is as documented: a function that reports, OptunaSearch, ASHAScheduler, default
loggers; a process a trial follows from it. Ours (`overhead_ours.py`) also evaluates a model on images, writes a
checkpoint an epoch and keeps all figures in an SQLite study. So the plain trials do less than ours, and the ratio is a
lower bound; with --same-work they evaluate the same model on the same images, for which each imports torch. Not
measured: starting Ray, preparing the data, finals, report.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
SIZES = (20, 60)
EPOCHS = 3
OURS_RUNS = 3
"""Searches of ours for each of plain Ray Tune: they are short, so that the machine's noise weighs more."""
TARGET = 15


def search(path: str, trials: int, *options: str) -> dict[str, float]:
    """Run one search in a process of its own; returns its seconds and epochs."""
    with tempfile.TemporaryDirectory(prefix="toprung-overhead-") as folder:
        done = subprocess.run(
            [sys.executable, str(HERE / f"overhead_{path}.py"), str(trials), str(EPOCHS), folder, *options],
            env={**os.environ, "PYTHONPATH": str(HERE / "recipes" / "site")},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        sys.exit(f"{path}, {trials} trials: {done.stdout[-2000:]}{done.stderr[-4000:]}")
    *text, figures = done.stdout.strip().splitlines()
    if "--profile" in options:
        print("\n".join(text))
    found = json.loads(figures)
    print(f"  {path:5} {trials} trials: {found['seconds']:6.1f} s, {found['epochs']} epochs", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1, help="measure this often and take medians")
    parser.add_argument("--same-work", action="store_true", help="plain trials import torch and evaluate as ours do")
    parser.add_argument("--profile", action="store_true", help="print the driver's profile of one search of ours only")
    arguments = parser.parse_args()
    if arguments.profile:
        search("ours", SIZES[-1], "--profile")
        return

    seconds: dict[tuple[str, int], list[float]] = {(path, size): [] for path in ("plain", "ours") for size in SIZES}
    for _ in range(arguments.repeats):
        for size in SIZES:
            options = ["--same-work"] if arguments.same_work else []
            seconds["plain", size].append(search("plain", size, *options)["seconds"])
            seconds["ours", size] += [search("ours", size)["seconds"] for _ in range(OURS_RUNS)]

    few, many = SIZES
    print(f"\n{'path':5}  {f't{few} s':>8}  {f't{many} s':>8}  {'s a trial':>9}  {'start-up s':>10}")
    marginal = {}
    for path in ("plain", "ours"):
        t = {size: median(seconds[path, size]) for size in SIZES}
        marginal[path] = (t[many] - t[few]) / (many - few)
        startup = t[few] - few * marginal[path]
        print(f"{path:5}  {t[few]:8.1f}  {t[many]:8.1f}  {marginal[path]:9.3f}  {startup:10.1f}")
    print(f"overhead ratio: {marginal['plain'] / marginal['ours']:.1f} (target {TARGET})")


if __name__ == "__main__":
    main()
