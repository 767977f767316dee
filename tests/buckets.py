"""A bucket on this machine: moto's S3 server, which keeps everything in memory."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import PIPE, Popen

import pytest

SERVE = """
import logging, sys, threading
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = make_server(sys.argv[1], int(sys.argv[2]), DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""
"""The program of the server, which prints its port. Arguments: address and port, or 0 for a free port."""
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@contextmanager
def s3_server() -> Iterator[Popen[str]]:
    """The server, told to all that is started meanwhile by the environment."""
    pytest.importorskip("moto")
    with (
        pytest.MonkeyPatch.context() as patch,
        Popen([sys.executable, "-W", "ignore", "-c", SERVE, "127.0.0.1", "0"], stdout=PIPE, text=True) as process,
    ):
        try:
            assert process.stdout
            for name, value in ENVIRONMENT.items():
                patch.setenv(name, value)
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{process.stdout.readline().strip()}")
            yield process
        finally:
            process.kill()


def make_bucket(name: str) -> str:
    """An empty bucket on the server; returns its URL."""
    from pyarrow.fs import FileSystem

    system, path = FileSystem.from_uri(f"s3://{name}?allow_bucket_creation=true")
    system.create_dir(path)
    return f"s3://{name}"
