"""Ray on the hosts of a lab, started by hand instead of by a launcher, and a search on it: see `RayHosts`."""

import shlex
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.lab import SHARED, Lab
from tests.running_search import RUN, TRIAL, RunningSearch, records_in
from tune.experiment.trial_record import TrialRecord

GIVES_UP = "RAY_health_check_period_ms=1000 RAY_health_check_timeout_ms=3000 RAY_health_check_failure_threshold=4"
"""Ray settings that give up a node after 15 seconds instead of a minute."""

_FAKETIME = next(map(str, Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), "")
AHEAD = {
    "FAKETIME": "+1h",  # shifts all clocks: without the monotonic ones, libfaketime breaks time.sleep
    # by default Ray preloads its own library into its processes, and none into workers
    "RAY_JEMALLOC_LIB_PATH": _FAKETIME, "RAY_LD_PRELOAD_ON_WORKERS": "1",
} if _FAKETIME else {}  # fmt: skip
"""Environment that sets the clocks of a node's processes an hour ahead; empty without Debian's package faketime."""


@dataclass(frozen=True)
class RayHosts:
    """A cluster of hosts that all see the checkout, for a search with its results in their shared folder.

    Attributes:
        lab: with a host `head`, on which no trial runs.
        name: the name of the search.
    """

    lab: Lab
    name: str

    @property
    def folder(self) -> Path:
        """The path of the search's results on this machine."""
        return self.lab.shared / "results" / self.name

    def start(self, *workers: str) -> None:
        """Start Ray's head, then the workers side by side."""
        self._ray("head", "start --head --port=6379 --include-dashboard=false --num-cpus=0")
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._add, workers))

    def join(self, host: str, environment: Mapping[str, str] | None = None) -> None:
        """Let a host join the cluster, for one trial at a time, after ending its old Ray processes.

        `environment` is set for Ray's processes on that host, such as `AHEAD`.
        """
        self.leave(host)
        self._add(host, environment)

    def leave(self, host: str) -> None:
        """Let a host leave the cluster; its processes are killed."""
        self.lab.run(host, "ray stop --force")

    def search(self, flags: str) -> RunningSearch:
        """Start the search on the head."""
        return self._start(f"{flags} --out {SHARED}/results --name {self.name}")

    def resume(self, flags: str = "") -> RunningSearch:
        """Resume the search on the head."""
        return self._start(f"--resume {SHARED}/results/{self.name} {flags}")

    def send_trial(self, host: str, signal: str) -> bool:
        """Send a signal, such as STOP, to the process that trains on a host; return False if there is none."""
        return self.lab.run(host, f"pkill -{signal} -n -f '{TRIAL}' && echo sent || true").strip() == "sent"

    def records(self) -> list[TrialRecord]:
        """Return the trials of the study on the head; an empty list before there is a study."""
        files = list(self.lab.home("head").glob(f".cache/toprung/studies/{self.name}-*.db"))
        return records_in(files[0], self.name) if files and (self.folder / "settings.yaml").is_file() else []

    def copied(self) -> list[TrialRecord]:
        """Return the trials of the study backup in the shared folder."""
        file = self.folder / "study.db"
        return records_in(file, self.name) if file.is_file() else []

    def _start(self, flags: str) -> RunningSearch:
        root = str(Path(RUN[-1]).parent.parent)
        command = f"cd {root} && exec python tune/run.py --address auto {flags}"
        return RunningSearch(
            self.lab.command("head", f"export PYTHONPATH={shlex.quote(root)} OMP_NUM_THREADS=1 && {command}"),
            self.records,
        )

    def _add(self, host: str, environment: Mapping[str, str] | None = None) -> None:
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in (environment or {}).items())
        self._ray(host, f"start --address={self.lab.addresses['head']}:6379 --num-cpus=1", variables)

    def _ray(self, host: str, command: str, variables: str = "") -> None:
        ray = f"{GIVES_UP} {variables} ray"
        self.lab.run(host, f"{ray} {command} --object-store-memory=100000000 --disable-usage-stats")
