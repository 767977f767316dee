"""How well a search keeps a cluster busy: trials of one-second epochs on 16 slots of four nodes.

    python benchmarks/slots.py [--nodes 4] [--slots 4] [--trials 64] [--epochs 6]

The nodes are Ray's own, in processes of this machine; an epoch sleeps, so that slots can outnumber cores. From the
moment when all slots first run, the time taken is held against the epochs that were left, divided by the slots. What is
above 1 is the time between trials, and what the driver adds to each epoch.
"""

import argparse
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from tune.cli import main as toprung
from tune.study import SearchStudy

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
from trainables._protocol import Epoch

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
            model=model, last=epoch == epochs, train_loss=1.0, train_accuracy=0.1, lr=0.1,
            state=lambda val, epoch=epoch: {"epoch": epoch},
        )
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, default in (("--nodes", 4), ("--slots", 4), ("--trials", 64), ("--epochs", 6)):
        parser.add_argument(flag, type=int, default=default)
    arguments = parser.parse_args()
    slots = arguments.nodes * arguments.slots
    with tempfile.TemporaryDirectory(prefix="toprung-slots-") as scratch:
        folder = Path(scratch)
        for package, code in (("search_spaces", SPACE), ("trainables", TRAINABLE)):
            (folder / "recipes" / package).mkdir(parents=True)
            (folder / "recipes" / package / "sleeper.py").write_text(code)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(arguments.nodes):
            cluster.add_node(num_cpus=arguments.slots)
        watch = Watch(folder, slots)
        watch.start()
        code = toprung([
            "search", "--address", cluster.address, "--data", "digits", "--limit", "100", "--final-seeds", "1",
            "--recipes", str(folder / "recipes"), "--trials", str(arguments.trials),
            "--max-epochs", str(arguments.epochs), "--grace-period", str(arguments.epochs),
            "--out", str(folder / "out"), "--cache", str(folder / "cache"), "--name", "slots",
        ])  # fmt: skip
        watch.join(10)
        ray.shutdown()
        cluster.shutdown()
    if code or watch.began is None or watch.ended is None:
        sys.exit(f"the search ended with {code}; {slots} trials at once were seen: {watch.began is not None}")
    left = arguments.trials * arguments.epochs - watch.done
    took = watch.ended - watch.began
    print(f"{slots} slots ran at once; {left} epochs were left: {took:.1f} s for {left / slots:.1f} s of work a slot")
    print(f"ratio {took / (left / slots):.2f}")


class Watch(threading.Thread):
    """Looks at the study until all trials have ended.

    Attributes:
        began, ended: when all slots first ran, and when the last trial ended; None before.
        done: epochs that were trained when all slots first ran.
    """

    def __init__(self, folder: Path, slots: int) -> None:
        super().__init__(daemon=True)
        self.folder, self.slots = folder, slots
        self.began: float | None = None
        self.ended: float | None = None
        self.done = 0

    def run(self) -> None:
        """Look, twice a second."""
        while self.ended is None:
            time.sleep(0.5)
            if not (self.folder / "out" / "slots" / "settings.yaml").exists():
                continue  # who opens a study before it is whole gets in the way of its tables
            (file,) = (self.folder / "cache" / "studies").glob("slots-*.db")
            with closing(SearchStudy.load(f"sqlite:///{file}", "slots")) as study:
                records = study.records
            running = [record for record in records if record.state == "running"]
            if self.began is None and sum(bool(record.epochs) for record in running) >= self.slots:
                self.began, self.done = time.monotonic(), sum(len(record.epochs) for record in records)
            if self.began is not None and not running:
                self.ended = time.monotonic()


if __name__ == "__main__":
    main()
