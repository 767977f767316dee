"""Hosts on one Linux machine, for tests that need several: see `Lab`."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which
from types import TracebackType
from typing import Self

import pytest

NETWORK = "10.77.0"
LAUNCHER = "launcher"
SHARED = Path("/mnt/shared")
"""A folder that all hosts see, like a network file system."""

SSH, LISTENS = ":0016", "0A"
"""Port 22 and the state of a listening socket, as in /proc/net/tcp."""

NEEDED = {
    "ip": "iproute2",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "rsync": "rsync",
    "unshare": "util-linux",
}
"""Commands and their Debian packages."""

HIDDEN = (Path("/tmp"), Path("/root"), Path("/run"))
"""Folders that each host has for itself."""

SPACES = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts", "--ipc")

ALLOWED = """
set -e
mount -t tmpfs tmpfs /mnt
mkdir /mnt/lower /mnt/upper /mnt/work /mnt/both
mount -t overlay overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work /mnt/both
ip link add one type veth peer two
hostname lab
"""
"""A probe of the rights that a host needs: mounts and a host name."""

INIT = r"""
set -euo pipefail
mount --make-rprivate /
hostname "$NAME"
mkdir -p "$ROOT"/{tmp,root,run/sshd,layer/upper,layer/work}
chmod 1777 "$ROOT/tmp"
chmod 700 "$ROOT/root"
chmod 755 "$ROOT/run"
cp -r "$LAB/keys" "$ROOT/run/keys"
chmod -R go= "$ROOT/run/keys"
for path in $READ_ONLY; do
    mkdir -p "$ROOT$path"
    mount --bind "$path" "$ROOT$path"
    mount -o remount,bind,ro "$ROOT$path"
done
# what a host installs is its own
mkdir -p "$VENV_AT"
mount -t overlay overlay -o "lowerdir=$VENV,upperdir=$ROOT/layer/upper,workdir=$ROOT/layer/work" "$VENV_AT"
mount -t tmpfs -o size=2g,mode=1777 tmpfs /dev/shm
mount -t tmpfs tmpfs /mnt
mkdir "$SHARED"
mount --bind "$LAB/shared" "$SHARED"
mount --bind "$LAB/hosts" /etc/hosts
mount --bind /dev/null "$(readlink -f /etc/resolv.conf)"
mount --rbind "$ROOT/root" /root
mount --bind "$ROOT/run" /run
mount --rbind "$ROOT/tmp" /tmp
cd /root
exec "$SSHD" -D -f /dev/null -E /run/sshd.log -o ListenAddress="$ADDRESS" -o HostKey=/run/keys/host \
    -o AuthorizedKeysFile=/run/keys/id.pub -o PermitRootLogin=prohibit-password -o PasswordAuthentication=no \
    -o KbdInteractiveAuthentication=no -o UsePAM=no -o StrictModes=no -o PidFile=none -o MaxSessions=50 \
    -o MaxStartups=50
"""


def missing() -> str:
    """Return the reason why a lab cannot run here, or an empty string if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux, and root for namespaces"
    absent = [package for command, package in NEEDED.items() if which(command, path=_path()) is None]
    if absent:
        return f"needs Debian's packages {' '.join(absent)}"
    tried = subprocess.run(
        ["unshare", "--net", *SPACES, "bash", "-c", ALLOWED], env={"PATH": _path()}, capture_output=True, text=True
    )
    return f"namespaces or mounts are not allowed: {tried.stderr.strip()}" if tried.returncode else ""


def require_lab() -> None:
    """Skip a test if no lab can run here, or fail it if the environment requires a lab."""
    if reason := missing():
        (pytest.fail if os.environ.get("TESTS_NEED_LAB") else pytest.skip)(reason)


class Lab:
    """Hosts with a network, processes, /tmp, /root and installed packages of their own, and an sshd each.

    `launcher` is the laptop that starts a cluster; the caller names the other hosts. A bridge in the launcher's network
    joins them, so the network of the machine does not change. All hosts see the machine's files, except `HIDDEN`;
    packages that a host installs into the virtual environment are visible to that host only.
    """

    def __init__(
        self, folder: Path, hosts: Sequence[str], *, checkout: Path, everywhere: bool = False, size: str = ""
    ) -> None:
        """Prepare a lab in `folder`, which must not exist yet.

        Args:
            folder: receives everything that the hosts write.
            hosts: their names.
            checkout: a folder that only the launcher sees.
            everywhere: let all hosts see the checkout.
            size: limit of the shared folder, such as 300m; the folder is then in memory and can run full.
        """
        self._folder, self._checkout, self._everywhere, self._size = folder, checkout, everywhere, size
        self.addresses = {name: f"{NETWORK}.{10 + n}" for n, name in enumerate([LAUNCHER, *hosts])}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        """Start the hosts."""
        for sub in ("keys", "shared"):
            (self._folder / sub).mkdir(parents=True)
        if self._size:
            _call("mount", "-t", "tmpfs", "-o", f"size={self._size}", "shared", str(self.shared))
        for key in ("id", "host"):
            _call("ssh-keygen", "-qt", "ed25519", "-N", "", "-f", str(self._folder / "keys" / key))
        lines = [f"{address} {name}" for name, address in self.addresses.items()]
        (self._folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines]) + "\n")
        try:
            for name in self.addresses:
                self._connect(name)
            with ThreadPoolExecutor() as pool:
                list(pool.map(self.boot, self.addresses))
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all hosts and all their processes."""
        self._end()

    @property
    def shared(self) -> Path:
        """The path of `SHARED` on this machine."""
        return self._folder / "shared"

    def home(self, name: str) -> Path:
        """Return the path of a host's /root on this machine."""
        return self._folder / name / "root"

    def boot(self, name: str) -> None:
        """Switch a host on, with an empty /tmp."""
        root = self._folder / name
        shutil.rmtree(root / "tmp", ignore_errors=True)
        (root / "root").mkdir(parents=True, exist_ok=True)
        (root / "root" / ".bashrc").touch()
        venv = Path(sys.prefix)
        shown = [Path(sys.base_prefix), *([self._checkout] if self._everywhere or name == LAUNCHER else [])]
        environment = {
            "PATH": _path(),
            "NAME": name,
            "LAB": str(self._folder),
            "ROOT": str(root),
            "ADDRESS": self.addresses[name],
            "SHARED": str(SHARED),
            "READ_ONLY": " ".join(str(path) for path in shown if _hidden(path)),
            "VENV": str(venv),
            "VENV_AT": f"{root}{venv}" if _hidden(venv) else str(venv),
            "SSHD": str(which("sshd", path=_path())),  # sshd wants its own full path
        }
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                ["ip", "netns", "exec", self._space(name), "unshare", *SPACES, "bash", "-c", INIT],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        _until(lambda: self._ready(name), f"{name} does not start; see {self._folder / name}.log")

    def kill(self, name: str) -> None:
        """Switch a host off: all its processes die at once."""
        os.kill(self._init(name), signal.SIGKILL)
        self._processes.pop(name).wait()

    def replace(self, name: str) -> None:
        """Replace a switched-off host by a new one with an empty disk, and switch that on."""
        shutil.rmtree(self._folder / name)
        self.boot(name)

    def cut(self, name: str) -> None:
        """Pull a host's network cable."""
        self._ip(LAUNCHER, "link", "set", f"to-{name}", "down")

    def plug(self, name: str) -> None:
        """Put a host's network cable back."""
        self._ip(LAUNCHER, "link", "set", f"to-{name}", "up")

    def hide_storage(self, name: str, how: str) -> None:
        """Hide `SHARED` from a host or make it read-only: `how` is "gone" or "read-only"."""
        mounts = {
            "gone": f"mount -t tmpfs -o ro,size=4k none {SHARED}",
            "read-only": f"mount --bind {SHARED} {SHARED} && mount -o remount,bind,ro {SHARED}",
        }
        self.run(name, mounts[how])

    def show_storage(self, name: str) -> None:
        """Undo `hide_storage`."""
        self.run(name, f"umount --lazy {SHARED}")

    def command(self, name: str, command: str) -> list[str]:
        """Return the command that runs a shell command on a host, in its /root, from this machine."""
        inside = ["nsenter", "-t", str(self._init(name)), "-n", "-m", "-p", "-u", "-i", "--wd=/root"]
        path = f"{sys.prefix}/bin:{_path()}"
        return [
            *inside,
            "env",
            "-i",
            "HOME=/root",
            "USER=root",
            f"PATH={path}",
            "LC_ALL=C.UTF-8",
            "bash",
            "-c",
            command,
        ]

    def run(self, name: str, command: str, *, timeout: float = 120) -> str:
        """Run a shell command on a host and return its output.

        Raises:
            AssertionError: it fails.
        """
        done = subprocess.run(self.command(name, command), capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, (
            f"{name}: {command}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        )
        return done.stdout + done.stderr

    def _connect(self, name: str) -> None:
        _call("ip", "netns", "add", self._space(name))
        self._ip(name, "link", "set", "lo", "up")
        if name == LAUNCHER:
            self._ip(name, "link", "add", "bridge", "type", "bridge")
            own = "bridge"
        else:
            own = "eth0"
            self._ip(name, "link", "add", own, "type", "veth", "peer", f"to-{name}", "netns", self._space(LAUNCHER))
            self._ip(LAUNCHER, "link", "set", f"to-{name}", "master", "bridge", "up")
        self._ip(name, "addr", "add", f"{self.addresses[name]}/24", "dev", own)
        self._ip(name, "link", "set", own, "up")
        if name != LAUNCHER:  # nothing is forwarded: Ray asks which of its addresses leads outside
            self._ip(name, "route", "add", "default", "via", self.addresses[LAUNCHER])

    def _ip(self, name: str, *words: str) -> None:
        _call("ip", "-n", self._space(name), *words)

    def _space(self, name: str) -> str:
        return f"toprung-{os.getpid()}-{name}"

    def _init(self, name: str) -> int:
        """Return this machine's PID of a host's first process."""
        outer = self._processes[name].pid
        return int(Path(f"/proc/{outer}/task/{outer}/children").read_text().split()[0])

    def _ready(self, name: str) -> bool:
        """Tell if the host's sshd listens."""
        try:
            first = Path(f"/proc/{self._init(name)}")
            if (first / "comm").read_text().strip() != "sshd":
                return False
            sockets = [line.split() for line in (first / "net" / "tcp").read_text().splitlines()[1:]]
        except (OSError, IndexError):
            return False
        return any(local.endswith(SSH) and state == LISTENS for _, local, _, state, *_ in sockets)

    def _end(self) -> None:
        for process in self._processes.values():
            process.kill()  # which also ends its first process, and thereby all others
            process.wait()
        if self._size:
            _call("umount", "--lazy", str(self.shared))
        spaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
        for line in spaces.splitlines():
            if line.startswith(self._space("")):
                _call("ip", "netns", "del", line.split()[0])


def _hidden(path: Path) -> bool:
    return any(path.is_relative_to(place) for place in HIDDEN)


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def _call(*words: str) -> None:
    subprocess.run(words, check=True, env={**os.environ, "PATH": _path()}, capture_output=True)


def _until(true: object, failure: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, failure
        time.sleep(0.05)
