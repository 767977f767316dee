"""A stand-in for W&B on this machine: the part of its GraphQL, file stream and storage that its client uses.

It shows what the client sends, and not what W&B displays.
"""

import gzip
import itertools
import json
import re
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import yaml

OPERATION = re.compile(r"\b(?:query|mutation)\s+([A-Za-z_]\w*)")
FILE_STREAM = re.compile(r"/files/[^/]+/[^/]+/([^/]+)/file_stream")
ENTITY = "team"
KEY = "k" * 40


@dataclass
class Run:
    """A run as the server has it."""

    name: str
    project: str = "uncategorized"
    display_name: str = ""
    group: str | None = None
    job_type: str | None = None
    tags: list[str] = field(default_factory=list)
    sweep: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    state: str = "running"
    stopped: bool = False

    @property
    def values(self) -> dict[str, Any]:
        """The configuration as it was given."""
        return {key: entry["value"] for key, entry in self.config.items() if not key.startswith("_")}


@dataclass
class Sweep:
    """A sweep: its configuration, its runs, and what its agents are to run, one configuration after another."""

    name: str
    project: str
    config: dict[str, Any]
    runs: list[str] = field(default_factory=list)
    queue: list[dict[str, Any]] = field(default_factory=list)
    to_stop: list[str] = field(default_factory=list)
    state: str = "PENDING"


@dataclass
class Artifact:
    """An artifact, and the names of its files."""

    name: str
    kind: str
    metadata: dict[str, Any]
    aliases: list[str]
    files: list[str] = field(default_factory=list)
    state: str = "PENDING"


class WandbServer:
    """See `wandb_server`.

    Attributes:
        runs, sweeps, artifacts: those received, by name.
        asked: how often each operation was asked for.
        unknown: requests that it does not implement.
        fails: takes the count of a request; returns True to answer with an error.
        hangs: while set, no request is answered; `hangs_after` is the count of the request that sets it.
        key: the only one that it takes, where it is particular.
    """

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.sweeps: dict[str, Sweep] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.asked: Counter[str] = Counter()
        self.unknown: list[str] = []
        self.fails: Callable[[int], bool] = lambda count: False
        self.hangs = threading.Event()
        self.hangs_after: int | None = None
        self.key: str | None = None
        self._agents: dict[str, str] = {}
        self._changes = threading.RLock()
        self._count = itertools.count(1)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        """Start to answer."""
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Stop answering."""
        self.hangs.clear()
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that send W&B's client to this server."""
        return {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": KEY,
            "WANDB_ERROR_REPORTING": "false",
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def of_type(self, job: str) -> list[Run]:
        """The runs of a job type, by name."""
        return [run for name, run in sorted(self.runs.items()) if run.job_type == job]

    def answer(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, Any]:
        """The status and the content of an answer."""
        count = next(self._count)
        if count == self.hangs_after:
            self.hangs.set()
        while self.hangs.is_set():
            time.sleep(0.05)
        if self.fails(count):
            return 503, {"errors": [{"message": "told to fail"}]}
        if self.key is not None and self.key not in headers.get("Authorization", "") and path == "/graphql":
            return 401, {"errors": [{"message": "user is not logged in"}]}
        if path == "/graphql":
            return self._graphql(json.loads(body))
        if found := FILE_STREAM.fullmatch(path):
            self.asked["file_stream"] += 1
            with self._changes:
                return 200, self._stream(self._run(found[1]), json.loads(body))
        if path.startswith("/storage/"):
            self.asked["storage"] += 1
            return 200, b""
        self.asked[path] += 1
        return 404, {"error": "not found"}

    def _graphql(self, request: dict[str, Any]) -> tuple[int, Any]:
        found = OPERATION.search(request["query"])
        operation = found[1] if found else "anonymous"
        self.asked[operation] += 1
        answers = getattr(self, f"_do_{operation}", None)
        if answers is None:
            self.unknown.append(f"{operation}: {request['query']}: {request.get('variables')}")
            return 400, {"errors": [{"message": f"unknown operation {operation}"}]}
        with self._changes:
            data = answers(request.get("variables") or {})
        return (404, {"errors": [{"message": "not found"}]}) if data is None else (200, {"data": data})

    # runs

    def _run(self, name: str) -> Run:
        return self.runs.setdefault(name, Run(name, display_name=name))

    def _bucket(self, run: Run) -> dict[str, Any]:
        return {
            "id": f"Run:{run.name}",
            "name": run.name,
            "displayName": run.display_name,
            "description": "",
            "config": json.dumps(run.config),
            "sweepName": run.sweep,
            "project": {"id": run.project, "name": run.project, "entity": {"id": "E", "name": ENTITY}},
            "historyLineCount": len(run.history),
        }

    def _do_UpsertBucket(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - W&B's name, as of all these
        name = given.get("name") or str(given.get("id") or uuid4().hex[:8]).removeprefix("Run:")
        inserted = name not in self.runs
        run = self._run(name)
        for theirs, ours in (
            ("displayName", "display_name"), ("project", "project"), ("groupName", "group"), ("jobType", "job_type"),
            ("tags", "tags"), ("state", "state"), ("sweep", "sweep"),
        ):  # fmt: skip
            if given.get(theirs):
                setattr(run, ours, given[theirs])
        if run.sweep in self.sweeps and name not in self.sweeps[run.sweep].runs:
            self.sweeps[run.sweep].runs.append(name)
        run.config.update(json.loads(given.get("config") or "{}"))
        run.summary.update(json.loads(given.get("summaryMetrics") or "{}"))
        return {"upsertBucket": {"bucket": self._bucket(run), "inserted": inserted}}

    def _stream(self, run: Run, sent: dict[str, Any]) -> dict[str, Any]:
        for name, part in (sent.get("files") or {}).items():
            if name == "wandb-history.jsonl":
                run.history[part["offset"] :] = map(json.loads, part["content"])
            elif name == "wandb-summary.json":
                run.summary = json.loads(part["content"][-1])
        if sent.get("complete"):
            run.state = "finished" if sent.get("exitcode") == 0 else "failed"
        return {"exitcode": None, "limits": {}, **({"stopped": True} if run.stopped else {})}

    def _do_RunResumeStatus(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        run = self.runs.get(given["name"])
        found = run and {
            **self._bucket(run),
            "summaryMetrics": json.dumps(run.summary),
            "logLineCount": 0,
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in run.history[-1:]]),
            "eventsTail": "[]",
            "tags": run.tags,
            "notes": None,
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {
            "model": {"id": "P", "name": given.get("project"), "entity": {"id": "E", "name": ENTITY}, "bucket": found}
        }

    def _do_RunStoppedStatus(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"project": {"run": {"stopped": self._run(given.get("runId") or given["run"]).stopped}}}

    def _do_CreateRunFiles(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        files = [{"name": name, "uploadUrl": f"{self.url}/storage/{given['run']}/{name}"} for name in given["files"]]
        return {"createRunFiles": {"runID": f"Run:{given['run']}", "uploadHeaders": [], "files": files}}

    def _do_MarkRunFilesUploaded(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"markRunFilesUploaded": {"success": True}}

    # the user and the server's features

    def _do_ServerFeaturesQuery(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"serverInfo": {"features": []}}

    def _do_Viewer(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        teams = {"edges": [{"node": {"name": ENTITY}}]}
        who = {"id": "U", "entity": ENTITY, "username": "person", "name": "person", "email": "", "admin": False}
        return {"viewer": {**who, "flags": "{}", "deletedAt": None, "apiKeys": {"edges": []}, "teams": teams}}

    def _do_OrganizationCoreWeaveOrganizationID(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}

    _do_GetViewer = _do_DefaultEntity = _do_GetDefaultEntity = _do_Viewer  # noqa: N815

    # sweeps

    def _do_UpsertSweep(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = str(given.get("id") or uuid4().hex[:8]).removeprefix("Sweep:")
        if name not in self.sweeps:
            self.sweeps[name] = Sweep(
                name, given.get("projectName") or "uncategorized", yaml.safe_load(given["config"])
            )
        sweep = self.sweeps[name]
        sweep.state = given.get("state") or sweep.state
        place = {"id": "P", "name": sweep.project, "entity": {"id": "E", "name": ENTITY}}
        made = {"name": name, "state": sweep.state, "project": place}
        return {"upsertSweep": {"sweep": made, "configValidationWarnings": []}}

    _do_UpsertSweepState = _do_UpsertSweep  # noqa: N815

    def _sweep(self, given: dict[str, Any]) -> dict[str, Any] | None:
        sweep = self.sweeps.get(given.get("sweep") or given.get("name") or "")
        if sweep is None:
            return {"project": {"sweep": None}}
        nothing = {"totalCount": 0, "edges": [], "pageInfo": {"endCursor": None, "hasNextPage": False}}
        found = {
            "id": f"Sweep:{sweep.name}", "name": sweep.name, "method": sweep.config["method"], "state": sweep.state,
            "description": "", "config": yaml.safe_dump(sweep.config), "createdAt": "2026-01-01T00:00:00",
            "heartbeatAt": None, "updatedAt": None, "earlyStopJobRunning": False, "bestLoss": None,
            "controller": "{}", "scheduler": "{}", "displayName": None, "controllerRunName": None,
            "runCountExpected": None, "priorRuns": {"edges": []}, "runs": nothing,
        }  # fmt: skip
        return {"project": {"id": "P", "runs": nothing, "sweep": found}}

    _do_GetSweep = _do_GetSweepState = _do_GetSweepLegacy = _do_Sweep = _do_SweepWithRuns = _sweep  # noqa: N815
    _do_SweepConfig = _do_SweepRunsWithHistory = _do_SweepWatchedRuns = _sweep  # noqa: N815

    def _do_CreateAgent(self, given: dict[str, Any]) -> dict[str, Any] | None:  # noqa: N802
        if given["sweep"] not in self.sweeps:
            return None
        agent = uuid4().hex[:8]
        self._agents[agent] = given["sweep"]
        self.sweeps[given["sweep"]].state = "RUNNING"
        return {"createAgent": {"agent": {"id": agent}}}

    def _do_Heartbeat(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        sweep = self.sweeps[self._agents[given["id"]]]
        busy = {name for name, runs in json.loads(given.get("runState") or "{}").items() if runs}
        commands: list[dict[str, Any]] = [{"type": "stop", "run_id": name} for name in busy if name in sweep.to_stop]
        if not busy and sweep.queue:
            name = uuid4().hex[:8]
            arguments = {key: {"value": value} for key, value in sweep.queue.pop(0).items()}
            run = self._run(name)
            run.sweep, run.project, run.config = sweep.name, sweep.project, dict(arguments)
            sweep.runs.append(name)
            command = {"type": "run", "run_id": name, "args": arguments, "sweep_id": sweep.name}
            commands.append({**command, "program": sweep.config.get("program")})
        elif not busy:
            sweep.state = "FINISHED"
            commands.append({"type": "exit"})
        return {"agentHeartbeat": {"agent": {"id": given["id"]}, "commands": json.dumps(commands)}}

    # artifacts

    def _do_ArtifactType(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"project": {"artifact": None}}

    def _do_CreateArtifact(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        wanted = given["input"]
        name = wanted["artifactCollectionName"]
        aliases = [alias["alias"] for alias in wanted.get("aliases") or []]
        metadata = json.loads(wanted.get("metadata") or "{}")
        made = Artifact(name, wanted["artifactTypeName"], metadata, aliases)
        self.artifacts[name] = made
        artifact = {"id": f"A:{name}", "state": made.state, "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def _do_CreateArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        file = {"id": "F", "uploadUrl": f"{self.url}/storage/manifest", "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": "M", "file": file}}}

    def _do_UpdateArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        file = {"id": "F", "uploadUrl": f"{self.url}/storage/manifest", "uploadHeaders": []}
        return {"updateArtifactManifest": {"artifactManifest": {"id": "M", "file": file}}}

    def _do_CreateArtifactFiles(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        edges = []
        for file in given["input"]["artifactFiles"]:
            self.artifacts[file["artifactID"].removeprefix("A:")].files.append(file["name"])
            node = {
                "id": "F",
                "name": file["name"],
                "displayName": file["name"],
                "uploadUrl": f"{self.url}/storage/{file['name']}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "storagePath": "",
                "artifact": {"id": file["artifactID"]},
            }
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _do_ArtifactByID(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        made = self.artifacts[given["id"].removeprefix("A:")]
        project = {"id": "P", "internalId": "P", "name": "toprung", "entity": {"name": ENTITY}}
        collection = {"__typename": "ArtifactSequence", "name": made.name, "project": project}
        aliases = [
            {"__typename": "ArtifactAlias", "id": alias, "alias": alias, "artifactCollection": collection}
            for alias in [*made.aliases, "v0"]
        ]
        now = "2026-01-01T00:00:00Z"
        artifact = {
            "__typename": "Artifact", "id": given["id"], "artifactSequence": collection, "versionIndex": 0,
            "artifactType": {"name": made.kind}, "description": None, "metadata": json.dumps(made.metadata),
            "ttlDurationSeconds": -2, "ttlIsInherited": True, "tags": [], "historyStep": None, "state": made.state,
            "size": 0, "digest": "", "commitHash": "", "fileCount": len(made.files), "createdAt": now,
            "updatedAt": now, "aliases": aliases,
        }  # fmt: skip
        return {"artifact": artifact}

    def _do_CommitArtifact(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        made = self.artifacts[given["artifactID"].removeprefix("A:")]
        made.state = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": ""}}}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the error: a killed client does not wait for its answer."""


def _handler(server: WandbServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

        def handle_any(self) -> None:
            """Answer any request."""
            body = self._body()
            try:
                code, content = server.answer(self.command, urlsplit(self.path).path, body, dict(self.headers))
            except Exception as error:
                server.unknown.append(f"{self.command} {self.path}: {error!r}: {body[:1000]!r}")
                code, content = 400, {"errors": [{"message": repr(error)}]}
            sent = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any  # noqa: N815

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                body = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            packed = {"gzip": gzip.decompress, "deflate": zlib.decompress}
            unpack = packed.get(self.headers.get("Content-Encoding", ""))
            return unpack(body) if unpack else body

    return Handler


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """A server that answers."""
    server = WandbServer()
    server.start()
    try:
        yield server
    finally:
        server.stop()
