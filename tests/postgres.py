"""A PostgreSQL of Debian's `postgresql` on this machine, with a folder and a port of its own."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER = "toprung"
PASSWORD = "correct-horse"


class Postgres:
    """A server that can be stopped and started; its users need a password.

    Attributes:
        port: the port on 127.0.0.1.
        url: the URL of its database, as user `USER`, without the password.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self.port = folder, port
        self.url = f"postgresql://{USER}@127.0.0.1:{port}/{USER}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self._folder} -c fsync=off"
        self._call("pg_ctl", "-D", f"{self._folder}/data", "-l", f"{self._folder}/log", "-w", "-o", options, "start")

    def stop(self) -> None:
        """Stop the server at once, which breaks all connections."""
        self._call("pg_ctl", "-D", f"{self._folder}/data", "-m", "immediate", "-w", "stop")

    def sql(self, *commands: str, database: str = USER) -> str:
        """Run SQL as the superuser and return the answer."""
        words = [word for command in commands for word in ("-c", command)]
        return self._call("psql", "-h", str(self._folder), "-p", str(self.port), "-d", database, "-Atq", *words)

    def make(self) -> None:
        """Create the server's files and start it with an empty database."""
        self._call("initdb", "-D", f"{self._folder}/data", "--auth-local=trust", "--auth-host=scram-sha-256", "-N")
        self.start()
        create = f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'"
        self.sql(create, f"CREATE DATABASE {USER} OWNER {USER}", database="postgres")

    def empty(self) -> None:
        """Delete everything in the database."""
        self.sql("DROP SCHEMA public CASCADE", f"CREATE SCHEMA public AUTHORIZATION {USER}")

    def _call(self, program: str, *arguments: str) -> str:
        command = [*_as_other_than_root(), f"{_programs()}/{program}", *arguments]
        # into a file: the server inherits standard output and keeps it open
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(
                command, cwd="/", stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=60, check=False
            )
            said.seek(0)
            text = said.read()
        assert done.returncode == 0, f"{program}: {text}"
        return text.strip()


def missing() -> str:
    """Return the reason why no server can run here, or an empty string if one can."""
    if _programs() is None:
        return "needs Debian's package postgresql"
    if os.geteuid() == 0 and not _as_other_than_root():
        return "needs runuser and the user postgres, as root may not run PostgreSQL"
    return ""


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A server with an empty database."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # short, for its socket
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = Postgres(folder, port)
        server.make()
        try:
            yield server
        finally:
            if (folder / "data" / "postmaster.pid").exists():
                server.stop()
    finally:
        shutil.rmtree(folder)


def _programs() -> Path | None:
    """Find the folder of PostgreSQL's programs: Debian's newest version, else the one on the path."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: float(file.parts[-3]))
    on_path = shutil.which("initdb")
    found = versions[-1] if versions else on_path and Path(on_path)
    return found.parent if found else None


def _as_other_than_root() -> list[str]:
    if os.geteuid() != 0:
        return []
    known = any(user.pw_name == "postgres" for user in pwd.getpwall())
    return ["runuser", "-u", "postgres", "--"] if known and shutil.which("runuser") else []
