"""Utilization of a cluster by a search: trials of one-second epochs on 16 slots of four nodes.

    python benchmarks/slots.py [--nodes 4] [--slots 4] [--trials 64] [--epochs 6]

The nodes are Ray's own, in processes of this machine, with a logical GPU for each slot: Ray gives them out as it does
real ones, and trials that ask for one train on cores. An epoch sleeps, so that slots can outnumber cores, and
reports when it ended. The result is a ratio: the time from the moment when all slots first run, over the remaining work
divided by the slots. The excess over 1 is the time between trials and the driver's share of each epoch.
"""

import argparse
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from tune.cli import main as toprung
from tune.cluster.resources import Resources
from tune.experiment.study import SearchStudy
from tune.experiment.trial_record import TrialRecord

TARGET = 1.15
EPOCH = 1.0
"""Seconds of an epoch."""

SPACE = """
from dataclasses import dataclass
from typing import Annotated
from search_spaces import Int, Space

@dataclass(frozen=True, kw_only=True)
class Sleeper(Space):
    number: Annotated[int, Int(1, 100000)] = 1
"""
TRAINABLE = """
import time
import torch
from torch import nn
from trainables.training.protocol import Epoch

class Constant(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(classes))

    def forward(self, images):
        return self.logits.expand(len(images), -1)

def build(space, shape):
    return Constant(shape.classes)

def train(space, data, *, epochs, state=None):
    model = build(space, data.shape)
    for epoch in range(1, epochs + 1):
        time.sleep(1.0)
        yield Epoch(
            model=model, last=epoch == epochs, train_loss=1.0, train_accuracy=0.1,
            lr=time.time(),  # of all figures, the one that nothing is made of
            state=lambda val, epoch=epoch: {"epoch": epoch},
        )
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, default in (("--nodes", 4), ("--slots", 4), ("--trials", 64), ("--epochs", 6)):
        parser.add_argument(flag, type=int, default=default)
    arguments = parser.parse_args()
    Resources.device = property(lambda _: "cpu")  # type: ignore[method-assign, assignment]
    with tempfile.TemporaryDirectory(prefix="toprung-slots-") as scratch:
        folder = Path(scratch)
        for package, code in (("search_spaces", SPACE), ("trainables", TRAINABLE)):
            (folder / "recipes" / package).mkdir(parents=True)
            (folder / "recipes" / package / "sleeper.py").write_text(code)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(arguments.nodes):
            cluster.add_node(num_cpus=arguments.slots, num_gpus=arguments.slots)
        code = toprung([
            "search", "--address", cluster.address, "--data", "digits", "--limit", "100", "--final-seeds", "1",
            "--recipes", str(folder / "recipes"), "--trials", str(arguments.trials), "--gpus-per-trial", "1",
            "--max-epochs", str(arguments.epochs), "--grace-period", str(arguments.epochs),
            "--out", str(folder / "out"), "--cache", str(folder / "cache"), "--name", "slots",
        ])  # fmt: skip
        if code:
            sys.exit(f"the search ended with {code}")
        with closing(SearchStudy.load(f"sqlite:///{folder / 'out' / 'slots' / 'study.db'}", "slots")) as study:
            records = study.records
        ray.shutdown()
        cluster.shutdown()
    sys.exit(judge(records, arguments.nodes * arguments.slots))


def judge(records: list[TrialRecord], slots: int) -> int:
    """Print the utilization of the slots; return 1 if it is too low."""
    ends = [[epoch["lr"] for epoch in record.epochs] for record in records]
    spans = [(trial[0] - EPOCH, trial[-1]) for trial in ends]
    at_once = {begin: sum(b <= begin < e for b, e in spans) for begin, _ in spans}
    began = min((moment for moment, running in at_once.items() if running == slots), default=None)
    if began is None:
        print(f"never more than {max(at_once.values())} of {slots} slots ran at once")
        return 1
    left = sum(min(EPOCH, max(0.0, end - began)) for trial in ends for end in trial)
    took = max(end for _, end in spans) - began
    ratio = took / (left / slots)
    print(f"{slots} trials ran at once; {left:.1f} s of work were left: {took:.1f} s for {left / slots:.1f} s a slot")
    print(f"slots ratio: {ratio:.2f} (target {TARGET})")
    return int(ratio > TARGET)


if __name__ == "__main__":
    main()
