"""A Ray searcher over the study: it proposes trials, keeps every result, and closes trials as they end.

Ray asks `suggest` for trials. It tells `on_trial_result` of every epoch that does not end a trial, and
`on_trial_complete` of the one that does. Both write to the study before Ray goes on.
"""

import re
import time
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from traceback import format_exception_only
from typing import Any

from ray.exceptions import ActorUnavailableError, RayTaskError
from ray.tune.search import Searcher

from search_spaces import Domains, Space
from trainables.storage.synced_folder import STORAGE_TIMEOUT_S
from tune.experiment.trial_files import TrialFiles
from tune.experiment.trial_record import Heard, TrialRecord
from tune.tuning.node_probe import NodeProbe, WorkerDeath
from tune.tuning.retries import MAX_FAILURES
from tune.tuning.sampler import RecipeSampler, fingerprint, seed_of
from tune.tuning.search_context import SearchContext
from tune.tuning.trainable import trial_config

HOPELESS_AFTER = 5
"""The number of first trials that must fail alike to show that the fault is not theirs."""


class StudySearcher(Searcher):
    """A searcher that proposes the trials of a study, the unfinished ones of an earlier process first.

    Args:
        search: the search, in whose study everything is kept.
        domains: the searched domains of each recipe, clamped to the data.
        starts: configurations of each recipe to try after its default.
        errors: the errors by which trials failed, by Ray's ids.
        nodes: the nodes that trials run on.
    """

    def __init__(
        self,
        search: SearchContext,
        domains: Mapping[str, Domains],
        starts: Mapping[str, Sequence[Space]],
        errors: Mapping[str, Exception],
        nodes: NodeProbe | None = None,
    ) -> None:
        super().__init__()
        self._study, self._errors, self._settings = search.study, errors, search.trial_context
        self._nodes = nodes or NodeProbe(search.settings, search.resources.concurrent)
        trials, seed = search.settings.trials, search.settings.seed
        self._trials, self._seed = trials, seed
        adaptive = search.settings.allocate == "adaptive"
        groups = [tuple(domains)] if adaptive else [(recipe,) for recipe in domains]
        startup = min(10, max(4, trials // len(groups) // 3))
        self._samplers = {
            group: RecipeSampler(
                {recipe: domains[recipe] for recipe in group},
                starts,
                seed=seed,
                startup=startup,
                maximize=search.settings.objective.maximize,
            )
            for group in groups
        }
        self._group_of = {recipe: group for group in groups for recipe in group}
        self._exhausted: set[tuple[str, ...]] = set()
        self._begun: Counter[tuple[str, ...]] = Counter()
        self._tried: set[str] = set()
        self._waiting: deque[int] = deque()
        self._running: dict[str, int] = {}
        self._node: dict[int, str] = {}
        self._failures: defaultdict[int, list[str]] = defaultdict(list)
        self._deaths: defaultdict[int, list[WorkerDeath]] = defaultdict(list)
        self._in_doubt: set[int] = set()
        self._useless: set[int] = set()
        self._first: list[TrialRecord] = []
        self._best: dict[str, TrialRecord] = {}
        for record in search.study.records:
            if record.counts:
                self._count(record)
            if record.state == "running":
                self._sampler_of(record).began(record)
                self._waiting.append(record.number)
            else:
                self._close(record)
                if record.state != "failed":  # the cause of an earlier process's failures may have been fixed since
                    self._first.append(record)

    def suggest(self, trial_id: str) -> Any:
        """Return the config of the next trial, unfinished ones first; None to be asked again, FINISHED at the end."""
        for number in tuple(self._in_doubt):
            self._in_doubt.remove(number)
            self._judge(number)
        if len(self._running) >= self._nodes.slots():
            return None
        if self._waiting:
            record = self._study.again(self._waiting.popleft())
        else:
            drawn = self._draw() if self._begun.total() < self._trials else None
            if drawn is None:
                return None if self._running or self._in_doubt else Searcher.FINISHED
            record = drawn
        self._running[trial_id] = record.number
        return trial_config(record, self._study.attempt(record.number), self._settings)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep the result of an epoch that does not end its trial."""
        self._node[result["number"]] = result["node"]
        self._keep(self._running[trial_id], result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Keep the last epoch, and close the trial in the state in which it ended."""
        number = self._running.pop(trial_id)
        node = self._node.pop(number, None)
        if error:
            self._failed(number, node, self._errors.get(trial_id))
        elif result and "number" in result:
            if result["end"] == "diverged":
                losses = f"train loss {result.get('figures/train_loss')}, val loss {result['figures/loss']}"
                note = f"diverged in epoch {result['epoch']}: {losses}"
                ended = self._study.end(number, "failed", note, diverged=True)
            else:
                self._keep(number, result)
                ended = self._study.end(number, "complete" if result["end"] else "pruned")
            self._ended(ended)

    @property
    def hopeless(self) -> str | None:
        """The error with which the first trials that ended have all failed, or None.

        Divergence does not count: it depends on the configuration, and the sampler keeps away from it.
        """
        if len(self._first) < HOPELESS_AFTER or any(
            record.state != "failed" or record.diverged for record in self._first
        ):
            return None
        kinds = {re.sub(r"0x[0-9a-f]+|[0-9]+", "", record.note) for record in self._first}
        return self._first[0].note if len(kinds) == 1 else None

    def _draw(self) -> TrialRecord | None:
        """Begin a new trial of the recipe with the fewest, or return None if no recipe has anything new."""
        while groups := [group for group in self._samplers if group not in self._exhausted]:
            group = min(groups, key=lambda group: self._begun[group])
            number = len(self._study.records)
            drawn = self._samplers[group].draw(number, self._tried)
            if drawn is None:
                self._exhausted.add(group)
                continue
            record = self._study.begin(
                drawn.recipe,
                drawn.config,
                seed=seed_of(self._seed, number),
                params=drawn.params,
                distributions=drawn.distributions,
            )
            self._count(record)
            return record
        return None

    def _keep(self, number: int, result: Mapping[str, Any]) -> None:
        figures = {key.removeprefix("figures/"): v for key, v in result.items() if key.startswith("figures/")}
        self._study.report(number, result["epoch"], figures, result["best"], Heard(time.time(), result["worker"]))

    def _failed(self, number: int, node: str | None, error: Exception | None) -> None:
        """Note a failure, by the trial's own error or its worker's death; a lost connection counts as neither."""
        if isinstance(error, RayTaskError):
            self._failures[number].append(format_exception_only(error.cause)[-1].strip().splitlines()[-1])
        elif not isinstance(error, ActorUnavailableError) and not self._nodes.died_with_its_node(error):
            node = node or TrialFiles(self._settings.place, number).node(self._study.attempt(number))
            self._deaths[number].append(WorkerDeath(node, time.monotonic()))
        self._judge(number)

    def _judge(self, number: int) -> None:
        """Retry a trial from its last checkpoint, until it has failed too often; a lost node is no failure.

        Ray may report a worker's death before it knows that the node is lost. Until then, a trial may have to wait.
        """
        deaths = self._deaths[number] = [death for death in self._deaths[number] if not self._nodes.lost_with(death)]
        failures = self._failures[number]
        if len(failures) + sum(self._nodes.not_lost_with(death) for death in deaths) >= MAX_FAILURES:
            note = failures[-1] if failures else f"its worker died {MAX_FAILURES} times"
            self._ended(self._study.end(number, "failed", note))
        elif len(failures) + len(deaths) < MAX_FAILURES:
            self._waiting.append(number)
        else:
            self._in_doubt.add(number)

    def _ended(self, record: TrialRecord) -> None:
        if len(self._first) < HOPELESS_AFTER:
            self._first.append(record)
        self._close(record)

    def _count(self, record: TrialRecord) -> None:
        self._begun[self._group_of[record.recipe]] += 1
        self._tried.add(fingerprint(record.recipe, record.config))

    def _close(self, record: TrialRecord) -> None:
        """Tell the sampler, and keep the checkpoints of only each recipe's best complete trial."""
        self._sampler_of(record).ended(record)
        worse = record
        if record.state == "complete":
            best = self._best.get(record.recipe)
            if best is None or self._better(record, best):
                self._best[record.recipe] = record
                if best is None:
                    return
                worse = best
        self._useless.add(worse.number)
        self.discard(patience=0.0)

    def discard(self, patience: float = STORAGE_TIMEOUT_S) -> None:
        """Delete checkpoints no longer needed; leave them for later if the storage fails longer than `patience`."""
        place = replace(self._settings.place, patience=patience)
        with suppress(OSError):
            for number in sorted(self._useless):
                place.believe(TrialFiles(place, number).discard_checkpoints)
                self._useless.remove(number)

    def _better(self, one: TrialRecord, other: TrialRecord) -> bool:
        assert one.value is not None
        return self._settings.objective.is_better(one.value, than=other.value)

    def _sampler_of(self, record: TrialRecord) -> RecipeSampler:
        return self._samplers[self._group_of[record.recipe]]

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: a resumed search makes a new searcher from the study."""

    def __getstate__(self) -> dict[str, Any]:
        """Return an empty state: Ray pickles its Tuner for `Tuner.restore`, which is not used here."""
        return {}
