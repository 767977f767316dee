"""Overhead of a trial beside its training, in seconds: this project against plain Ray Tune.

    python benchmarks/overhead.py [--repeats 1] [--same-work] [--profile]

Both search the same four parameters by TPE and ASHA, 60 trials, two at a time, three epochs at most, in a Ray session
of their own. t20 and t60 are the seconds from the call of `Tuner.fit` until 20 and 60 trials have ended. Each
further trial takes (t60 - t20) / 40; the rest of t20 is start-up: the first workers start and import.

Plain Ray Tune (`overhead_plain.py`) is as documented: a function that reports, OptunaSearch, ASHAScheduler, default
loggers; a process a trial follows from it. Ours (`overhead_ours.py`) also evaluates a model on images, writes a
checkpoint an epoch and keeps all figures in an SQLite study. So the plain trials do less than ours, and the ratio is a
lower bound; with --same-work they evaluate the same model on the same images, for which each imports torch. Not
measured: starting Ray, preparing the data, finals, report.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
FEW, MANY = 20, 60
EPOCHS = 3
OURS_RUNS = 3
"""Searches by toprung for each one by plain Ray Tune: they are short, so noise weighs more."""
TARGET = 15


def search(path: str, *options: str) -> tuple[float, float]:
    """Run one search in a process of its own; returns t20 and t60."""
    with tempfile.TemporaryDirectory(prefix="toprung-overhead-") as folder:
        done = subprocess.run(
            [sys.executable, str(HERE / f"overhead_{path}.py"), str(MANY), str(EPOCHS), folder, *options],
            capture_output=True,
            text=True,
        )
    if done.returncode:
        sys.exit(f"{path}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
    *text, figures = done.stdout.strip().splitlines()
    if "--profile" in options:
        print("\n".join(text))
    found = json.loads(figures)
    few, many = (sorted(found["ends"])[n - 1] for n in (FEW, MANY))
    print(f"  {path:5} t{FEW} {few:6.1f} s, t{MANY} {many:6.1f} s, {found['epochs']} epochs", flush=True)
    return few, many


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1, help="measure this often and take medians")
    parser.add_argument("--same-work", action="store_true", help="plain trials import torch and evaluate as ours do")
    parser.add_argument("--profile", action="store_true", help="print the driver's profile of one search of ours only")
    arguments = parser.parse_args()
    if arguments.profile:
        search("ours", "--profile")
        return

    times: dict[str, list[tuple[float, float]]] = {"plain": [], "ours": []}
    for _ in range(arguments.repeats):
        times["ours"] += [search("ours") for _ in range(OURS_RUNS // 2)]  # some before, some after, as loads change
        times["plain"].append(search("plain", *(["--same-work"] if arguments.same_work else [])))
        times["ours"] += [search("ours") for _ in range(OURS_RUNS - OURS_RUNS // 2)]

    print(f"\n{'path':5}  {'s a trial':>9}  {'start-up s':>10}")
    marginal = {}
    for path, found in times.items():
        marginal[path] = median((many - few) / (MANY - FEW) for few, many in found)
        print(f"{path:5}  {marginal[path]:9.3f}  {median(few for few, _ in found) - FEW * marginal[path]:10.1f}")
    print(f"overhead ratio: {marginal['plain'] / marginal['ours']:.1f} (target {TARGET})")


if __name__ == "__main__":
    main()
