"""A search under random faults on the hosts of a lab, followed by checks of its guarantees: `make chaos`.

    python -m tests.cluster.chaos --seed 7 --faults 20

Needs root on Linux (see `tests/cluster/lab.py`). Prints a line for each fault, and the table of docs/reliability.md.
"""

import argparse
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.lab import Lab, missing
from tests.cluster.ray_hosts import AHEAD, RayHosts
from tests.running_search import RunningSearch
from tune.experiment.trial_record import TrialRecord
from tune.settings.milestones import milestones

ROOT = Path(__file__).parent.parent.parent
WORKERS = ("one", "two")
SPARE = "three"
EPOCHS, GRACE, REDUCTION = 8, 2, 3
OPTIONS = (
    f"--data digits --recipes plain_cnn,mlp --max-epochs {EPOCHS} --grace-period {GRACE} "
    f"--reduction-factor {REDUCTION} --final-seeds 1 --set plain_cnn.batch_size=32"
)
MANY = 500
"""More trials than can begin before the last fault."""

AWAY = (10.0, 60.0)
"""Shortest and longest time for which the storage is full, read-only or gone, in seconds."""

SHORT, LONG = 3.0, 30.0
"""Seconds for which a cable is pulled: Ray gives up a node within the second time, not the first."""

LINGERS = 10.0
"""Seconds for which a given-up node runs on: it may write until it knows."""

WAIT = 600.0
"""Seconds after which a search counts as hung, including faults of the storage."""

HEAD_LOST = "head lost with its disk"


@dataclass
class Faulted:
    """A fault and its consequences.

    Attributes:
        kind: its name in `Chaos.faults`.
        lost: epochs and ended trials that were in the study before, but not afterwards.
        repeated: epochs that are in the study more than once afterwards.
        begun_again: trials that another process took up from their last checkpoint.
        seconds: from the fault until all trials that had been running went on.
    """

    kind: str
    lost: int
    repeated: int
    begun_again: int
    seconds: float


@dataclass
class Chaos:
    """A cluster in a lab, and a search on it.

    Attributes:
        hosts: with a head, `WORKERS` and `SPARE`.
        draw: the source of randomness.
        search: the running search, set by `start`.
    """

    hosts: RayHosts
    draw: random.Random
    search: RunningSearch = field(init=False)
    spare: bool = False
    done: list[Faulted] = field(default_factory=list)

    @property
    def faults(self) -> dict[str, Callable[[], None]]:
        """Map each kind of fault to the function that causes and ends it."""
        return {
            "trial's process killed": self.kill_trial,
            "raylet killed": self.kill_raylet,
            "worker switched off": self.switch_off,
            "cable pulled for 3 s": lambda: self.cut(SHORT),
            "cable pulled until given up": lambda: self.cut(LONG),
            "node added or taken away": self.add_or_take,
            "driver killed": self.kill_driver,
            HEAD_LOST: self.lose_head,
            "storage gone": lambda: self.hide("gone"),
            "storage read-only": lambda: self.hide("read-only"),
            "storage full": self.fill,
        }

    def start(self) -> None:
        """Start the cluster and the search."""
        self.hosts.start(*WORKERS)
        self.search = self.hosts.search(f"{OPTIONS} --trials {MANY}")

    def kill_trial(self) -> None:
        """Wait for a process that trains, and kill it."""
        self.search.until("process of a trial", lambda _: self.hosts.send_trial(self.worker(), "KILL"))

    def kill_raylet(self) -> None:
        """Kill Ray's process on a node; a supervisor starts it again."""
        name = self.worker()
        self.hosts.lab.run(name, "pkill -9 -x raylet")
        self.hosts.join(name)

    def switch_off(self) -> None:
        """Switch a worker off and on."""
        name = self.worker()
        self.hosts.lab.kill(name)
        self.hosts.lab.boot(name)
        self.hosts.join(name)

    def cut(self, seconds: float) -> None:
        """Pull a worker's cable and put it back; a worker that Ray gave up joins again."""
        name = self.worker()
        self.hosts.lab.cut(name)
        time.sleep(seconds)
        self.hosts.lab.plug(name)
        if seconds == LONG:
            time.sleep(LINGERS)
            self.hosts.join(name)

    def add_or_take(self) -> None:
        """Have the spare host join, or leave; its clock is an hour ahead."""
        if self.spare:
            self.hosts.leave(SPARE)
        else:
            self.hosts.join(SPARE, AHEAD)
        self.spare = not self.spare

    def kill_driver(self) -> None:
        """Kill the search and resume it."""
        self.end_driver("KILL")
        self.go_on()

    def lose_head(self) -> None:
        """Lose the head with its disk, replace it, and resume the search."""
        self.hosts.lab.kill("head")
        self.search.end()
        self.hosts.lab.replace("head")
        self.hosts.start()
        for name in WORKERS:
            self.hosts.join(name)
        if self.spare:
            self.hosts.join(SPARE, AHEAD)
        self.go_on()

    def hide(self, how: str) -> None:
        """Hide the storage from all hosts, or make it read-only, for a while."""
        for name in ("head", *WORKERS, SPARE):
            self.hosts.lab.hide_storage(name, how)
        time.sleep(self.draw.uniform(*AWAY))
        for name in ("head", *WORKERS, SPARE):
            self.hosts.lab.show_storage(name)

    def fill(self) -> None:
        """Fill the storage for a while."""
        filler = self.hosts.lab.shared / "filler"
        try:
            with filler.open("wb") as file:
                while True:
                    file.write(bytes(2**20))
                    file.flush()
        except OSError:
            time.sleep(self.draw.uniform(*AWAY))
        filler.unlink()

    def worker(self) -> str:
        """Draw one of the workers."""
        return self.draw.choice(WORKERS)

    def end_driver(self, how: str) -> None:
        """Send a signal to the driver, but not to its child processes."""
        assert self.search.process.poll() is None, self.search.said[-6000:]
        self.hosts.lab.run("head", f"pkill -{how} -f '[t]une/run.py --address auto'")
        self.search.end()

    def go_on(self, flags: str = "") -> None:
        """Resume a search that has ended."""
        self.search.close()
        self.search = self.hosts.resume(flags)

    def run(self, count: int) -> list[TrialRecord]:
        """Cause this number of faults, wait for the search to end, and return its trials."""
        self.search.until(
            "two trials", lambda found: sum(record.state == "running" for record in found) >= len(WORKERS), wait=WAIT
        )
        kinds = list(self.faults)
        order = [*kinds, *self.draw.choices(kinds, k=max(0, count - len(kinds)))][:count]
        self.draw.shuffle(order)
        for kind in order:
            time.sleep(self.draw.uniform(1, 4))
            self.let_happen(kind)
        begun = len(self.hosts.records())
        self.end_driver("INT")
        self.go_on(f"--trials {begun + 2}")
        assert self.search.end(WAIT) == 0, self.search.said
        return self.hosts.records()

    def let_happen(self, kind: str) -> None:
        """Cause a fault, then check that every running trial continues and nothing is lost."""
        before = self.hosts.copied() if kind == HEAD_LOST else self.hosts.records()
        running = {record.number: len(record.epochs) for record in before if record.state == "running"}
        began = time.monotonic()
        self.faults[kind]()
        if kind != HEAD_LOST:  # epochs reported before the kill do not show that a trial continues
            now = self.hosts.records()
            running = {number: len(now[number].epochs) for number in running if now[number].state == "running"}

        def went_on(now: list[TrialRecord]) -> bool:
            return sum(len(each.epochs) for each in now) > sum(len(each.epochs) for each in before) and all(
                number < len(now) and (now[number].state != "running" or len(now[number].epochs) > epochs)
                for number, epochs in running.items()
            )

        after = self.search.until(f"trials that go on after: {kind}", went_on, wait=WAIT)
        seconds = time.monotonic() - began
        attempts = {record.number: record.attempts for record in before}
        found = Faulted(
            kind,
            lost=losses(before, after),
            repeated=sum(len(record.epochs) - len({epoch["epoch"] for epoch in record.epochs}) for record in after),
            begun_again=sum(record.attempts - attempts.get(record.number, 1) for record in after),
            seconds=seconds,
        )
        self.done.append(found)
        print(
            f"{len(self.done):3}  {kind:30} lost {found.lost}, repeated {found.repeated}, "
            f"begun again {found.begun_again}, {seconds:.0f} s",
            flush=True,
        )


def losses(before: list[TrialRecord], after: list[TrialRecord]) -> int:
    """Count the epochs and ended trials that were in the study before, but not afterwards."""
    lost = 0
    for old in before:
        new = after[old.number] if old.number < len(after) else None
        if new is None or (old.state != "running" and new != old):
            lost += 1
        else:
            known = {epoch["epoch"]: epoch for epoch in new.epochs}
            lost += sum(known.get(epoch["epoch"]) != epoch for epoch in old.epochs)
    return lost


def faults_of(records: list[TrialRecord]) -> list[str]:
    """List the guarantees that a finished search broke."""
    wrong = []
    if [record.number for record in records] != list(range(len(records))):
        wrong.append("trials are missing or there twice")
    for record in records:
        epochs = [int(epoch["epoch"]) for epoch in record.epochs]
        if record.state not in ("complete", "pruned"):
            wrong.append(f"trial {record.number} is {record.state}: {record.note}")
        if epochs != list(range(1, len(epochs) + 1)):
            wrong.append(f"trial {record.number} has epochs {epochs}")
        if record.state == "complete" and len(epochs) != EPOCHS:
            wrong.append(f"trial {record.number} is complete after {len(epochs)} epochs")
        if record.state == "pruned" and len(epochs) not in milestones(GRACE, REDUCTION, EPOCHS):
            wrong.append(f"trial {record.number} is pruned after {len(epochs)} epochs, between two rungs")
    return wrong


def table(done: list[Faulted]) -> str:
    """Format the faults and their consequences as a Markdown table."""
    by_kind: dict[str, list[Faulted]] = defaultdict(list)
    for each in done:
        by_kind[each.kind].append(each)
    lines = [
        "| fault | times | lost | repeated | trials begun again | seconds until all went on: median, longest |",
        "|---|---|---|---|---|---|",
    ]
    for kind, found in sorted(by_kind.items()):
        seconds = [each.seconds for each in found]
        sums = [sum(getattr(each, name) for each in found) for name in ("lost", "repeated", "begun_again")]
        counts = " | ".join(map(str, [len(found), *sums]))
        lines.append(f"| {kind} | {counts} | {statistics.median(seconds):.0f}, {max(seconds):.0f} |")
    return "\n".join(lines)


def main() -> int:
    """Run the search under faults; return 1 if a guarantee is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--faults", type=int, default=20)
    arguments = parser.parse_args()
    if reason := missing():
        print(f"chaos: {reason}", file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):  # the lab ends with it, also in the background
        signal.signal(number, lambda *_: sys.exit(130))
    print(f"seed {arguments.seed}, {arguments.faults} faults", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        lab = Lab(Path(folder), ["head", *WORKERS, SPARE], checkout=ROOT, everywhere=True, size="400m")
        with lab:
            chaos = Chaos(RayHosts(lab, "chaos"), random.Random(arguments.seed))
            chaos.start()
            try:
                records = chaos.run(arguments.faults)
            finally:
                chaos.search.close()
    wrong = faults_of(records)
    states = ", ".join(f"{sum(r.state == s for r in records)} {s}" for s in ("complete", "pruned", "failed", "running"))
    print(f"\n{len(records)} trials: {states}; {sum(r.attempts > 1 for r in records)} were begun more than once\n")
    print(table(chaos.done))
    for line in wrong:
        print(f"WRONG: {line}")
    return 1 if wrong or any(each.lost or each.repeated for each in chaos.done) else 0


if __name__ == "__main__":
    sys.exit(main())
