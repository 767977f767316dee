"""Checks that find problems before a search: on this machine, or on every node of a running cluster."""

import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import ray

from search_spaces import InputError
from trainables.data import BrokenImageError
from trainables.data.sources import open_source
from trainables.storage.synced_folder import SyncedFolder, is_url, reason_of
from trainables.training.protocol import import_recipes
from tune.cluster.machine import CODE, Finding, Machine, differences, examined, look, nearest, on_node, places_of, port
from tune.cluster.nodes import Mark, mark, on_each_node
from tune.cluster.ray_session import connect
from tune.cluster.reachability import Peer, near, peers, unreached
from tune.cluster.resources import allot, cluster_nodes, this_machine, this_node
from tune.experiment.folder import try_writing
from tune.experiment.input_variants import input_variants_of, spec_of
from tune.settings.groups import HERE
from tune.settings.preset import file_of, read_preset
from tune.settings.settings import Settings

LATE_S = 3.0
"""Seconds that W&B has to answer, and seconds by which clocks may differ."""

NODE_REPLY_TIMEOUT_S = 120.0
"""Seconds that a node has to answer. An idle node first imports PyTorch, maybe from a slow disk."""

OPEN = "open all TCP ports between the nodes of the cluster, in their security group or firewall"

MAX_RESULTS_SHOWN = 3
"""Different good results that the one line for many nodes shows."""


def _this_machine(places: Mapping[str, str]) -> Machine:
    return look(places, name_gpus=True)


@dataclass(frozen=True, kw_only=True)
class Probes:
    """The probes of the driver.

    Attributes:
        machine: examines this machine, given the folders that a search writes to.
        mark: makes a mark in a place that all nodes should see.
        peers: returns the live nodes of the connected cluster.
        unreached: returns the nodes that this machine does not reach.
        clock: returns this machine's time, to which the nodes' clocks are compared.
        ray_port: the port where a Ray that runs here would listen.
    """

    machine: Callable[[Mapping[str, str]], Machine] = _this_machine
    mark: Callable[[SyncedFolder], AbstractContextManager[Mark]] = mark
    peers: Callable[[], list[Peer]] = peers
    unreached: Callable[[list[Peer]], dict[str, str]] = unreached
    clock: Callable[[], float] = time.time
    ray_port: int = 6379


def examine(settings: Settings, probes: Probes = Probes()) -> Iterator[Finding]:
    """Check this machine or, if `address` names a running cluster, each of its nodes; yield findings as they come."""
    here = probes.machine(places_of(settings))
    if settings.address == HERE:
        yield _versions(here)
        yield from examined(here, trains_on_gpus=settings.gpus_per_trial != 0)
        yield _data(settings)
        yield _recipes(settings)
        if is_url(settings.out):
            yield _bucket(settings)
        yield _request(settings)
        yield port(
            probes.ray_port, "join the Ray that runs there by --address auto, or give ray start --head another --port"
        )
    else:
        yield from _cluster(settings, here, probes)
        yield _data(settings)
    yield _wandb()


def _versions(here: Machine) -> Finding:
    missing = [name for name, version in here.versions.items() if version == "none"]
    if missing:
        mend = f"pip install {' '.join(missing)}"
        return Finding("error", "versions", f"{', '.join(missing)} not installed; {mend}")
    shown = [f"{name} {version}" for name, version in here.versions.items() if name != CODE]
    return Finding("ok", "versions", ", ".join(shown))


def _data(settings: Settings) -> Finding:
    """Check that this machine can list the data and read an image. Other nodes need not: they get decoded images."""
    try:
        preset = read_preset(file_of(settings.preset)) if settings.preset else None
        for input_variant in input_variants_of(preset, settings):
            contents = open_source(spec_of(settings, input_variant)).contents()
            contents.image(0)
    except BrokenImageError as error:
        return Finding("warning", "data", f"{contents.names[0]} is broken: {error}; see --on-bad-image of the search")
    except InputError as error:
        return Finding("error", "data", str(error))
    except OSError as error:
        return Finding("error", "data", f"--data {settings.data}: cannot be read: {reason_of(error)}")
    text = (
        f"{settings.data}: {len(contents.names):,} images of {len(contents.classes)} classes, of which one was decoded"
    )
    if settings.address != HERE:
        text += "; this machine alone needs to see them, the others get them decoded, through --out"
    return Finding("ok", "data", text)


def _recipes(settings: Settings) -> Finding:
    try:
        import_recipes(settings.recipes)  # the settings have already registered recipes from outside
    except InputError as error:
        return Finding("error", "recipes", str(error))
    return Finding("ok", "recipes", ", ".join(settings.recipes))


def _bucket(settings: Settings) -> Finding:
    with TemporaryDirectory(prefix="toprung-") as folder:
        try:
            try_writing(SyncedFolder(Path(folder), settings.out, patience=0.0))
        except InputError as error:
            return Finding("error", "storage", str(error))
    return Finding("ok", "storage", f"{settings.out}: can be written")


def _request(settings: Settings) -> Finding:
    """Check that a trial fits on this machine or on a node of the cluster."""
    try:
        allotted = allot(settings, *([[this_machine()]] if settings.address == HERE else cluster_nodes()))
    except InputError as error:
        return Finding("error", "a trial", str(error))
    return Finding("ok", "a trial", f"gets {allotted}")


@dataclass(frozen=True)
class _Visit:
    """The state of a node: its machine, its problems by check, the number of nodes it tried to reach, and its clock."""

    machine: Machine
    problems: dict[str, str]
    tried: int
    clock: float


def _visit(
    seen: Mark, others: list[Peer], places: dict[str, str], recipes: tuple[str, ...], recipes_from: tuple[str, ...]
) -> _Visit:
    problems, tried = {}, near(this_node(), others)
    if failed := unreached(tried):
        problems["ports"] = f"does not reach {' or '.join(failed.values())}"
    try:
        seen.answer()
    except (InputError, OSError) as error:
        problems["storage"] = reason_of(error) if isinstance(error, OSError) else str(error)
    try:
        import_recipes(recipes, recipes_from)
    except InputError as error:
        problems["recipes"] = str(error)
    return _Visit(look(places, name_gpus=True), problems, len(tried), time.time())


def _cluster(settings: Settings, here: Machine, probes: Probes) -> Iterator[Finding]:
    """Yield the findings on a cluster: problems node by node, good results in one line for all nodes."""
    yield _versions(here)
    try:
        connect(settings.address)
    except InputError as error:
        yield Finding("error", "cluster", str(error))
        return
    try:
        yield _request(settings)
        findings = list(_visits(settings, here, probes))
    except OSError as error:
        yield Finding("error", "storage", f"--out {settings.out}: cannot be written: {reason_of(error)}")
        return
    except InputError as error:
        yield Finding("error", "storage", str(error))
        return
    finally:
        ray.shutdown()
    yield from merged(findings)


def _visits(settings: Settings, here: Machine, probes: Probes) -> Iterator[Finding]:
    """Yield the findings of all nodes, as they answer."""
    if is_url(settings.out):
        place = SyncedFolder(nearest(Path(settings.cache)), settings.out, patience=0.0)
    else:
        place = SyncedFolder(nearest(Path(settings.out)))  # only the search itself may create --out
    all_nodes, own = probes.peers(), this_node()
    cut_off = probes.unreached([peer for peer in all_nodes if peer.node != own])  # Ray would wait for them forever
    for failed in cut_off.values():
        yield from on_node(here.host, [Finding("error", "ports", f"does not reach {failed}; {OPEN}")])
    reached = [peer for peer in all_nodes if peer.node not in cut_off]
    with probes.mark(place) as seen:
        visit = partial(_visit, seen, reached, places_of(settings), settings.recipes, settings.recipes_from)
        for answer, _, _ in on_each_node(visit, but=cut_off, patience=NODE_REPLY_TIMEOUT_S):
            now = probes.clock()
            if answer.result is None:
                yield Finding("error", "nodes", answer.problem)
                continue
            there = answer.result.machine
            trains_on_gpus = answer.gpus > 0 and settings.gpus_per_trial != 0
            other = list(differences(there, here)) or [Finding("ok", "versions", "as on this machine")]
            of_node = _of_node(answer.result, seen, answer.node, settings, now)
            yield from on_node(there.host, [*other, *examined(there, trains_on_gpus=trains_on_gpus), *of_node])


def _of_node(visit: _Visit, seen: Mark, node: str, settings: Settings, now: float) -> Iterator[Finding]:
    problems = dict(visit.problems)
    if "storage" not in problems:
        try:
            seen.check(node)
        except InputError as error:
            problems["storage"] = str(error)
    ways = {
        "storage": "give --out that every node can write to",
        "recipes": "install on every node what it needs",
        "ports": OPEN,
    }
    well = {
        "storage": f"{settings.out}: seen and written to",
        "recipes": ", ".join(settings.recipes),
        "ports": f"{visit.tried} others reached" if visit.tried else "there is no other node",
    }
    for check, way in ways.items():
        if check in problems:
            yield Finding("error", check, f"{problems[check]}; {way}")
        else:
            yield Finding("ok", check, well[check])
    apart = visit.clock - now
    if abs(apart) > LATE_S:
        text = f"is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} this machine's; set it by NTP"
        yield Finding("warning", "clocks", text)
    else:
        yield Finding("ok", "clocks", f"within {LATE_S:g} s of this machine's")


def merged(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Merge many nodes' findings by check, in order: all problems or, if there are none, one line for all nodes."""
    for check in dict.fromkeys(finding.check for finding in findings):
        of_check = [finding for finding in findings if finding.check == check]
        wrong = [finding for finding in of_check if finding.level != "ok"]
        yield from wrong or [Finding("ok", check, _counted([finding.text for finding in of_check]))]


def _counted(texts: Sequence[str]) -> str:
    """Return the most common texts with counts, at most `MAX_RESULTS_SHOWN`: `2 nodes: this; 1 node: that`."""
    counts = Counter(texts).most_common()
    shown = [f"{count} {'node' if count == 1 else 'nodes'}: {text}" for text, count in counts[:MAX_RESULTS_SHOWN]]
    rest = sum(count for _, count in counts[MAX_RESULTS_SHOWN:])
    return "; ".join([*shown, *([f"and {rest} more"] if rest else [])])


def _wandb() -> Finding:
    """Check whether W&B is used and can be reached. A search does not need W&B."""
    from tune.cluster.wandb_login import login  # imported here because it is slow

    try:
        given = login()
    except InputError as error:
        return Finding("warning", "W&B", str(error).removeprefix("W&B "))
    if given.mode == "disabled":
        return Finding("ok", "W&B", "disabled")
    if given.mode in ("offline", "dryrun"):
        return Finding("ok", "W&B", "offline: runs are kept and can be synced")
    if not given.known:
        return Finding("ok", "W&B", "not used, as there is no login: wandb login, or WANDB_API_KEY")
    try:
        with suppress(urllib.error.HTTPError):  # any HTTP answer shows that the server is there
            urllib.request.urlopen(urllib.request.Request(given.url, method="HEAD"), timeout=LATE_S).close()
    except OSError as error:
        reason = getattr(error, "reason", error)
        way = "WANDB_MODE=offline keeps runs, which can be synced"
        return Finding("warning", "W&B", f"{given.url} does not answer within {LATE_S:g} s: {reason}; {way}")
    return Finding("ok", "W&B", f"logged in, and {given.url} answers")
