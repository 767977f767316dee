"""The best trials of each recipe."""

from collections import defaultdict
from collections.abc import Iterable

from tune.experiment.trial_record import TrialRecord


def choose(records: Iterable[TrialRecord], milestones: list[int], top: int, *, maximize: bool) -> list[TrialRecord]:
    """Return the `top` best trials of each recipe, no two of one configuration. A higher rung is better.

    A running trial may still reach any rung, so it counts as if it had reached the last.
    """
    of_recipe: defaultdict[str, list[TrialRecord]] = defaultdict(list)
    for record in records:
        if record.values and record.state != "failed":
            of_recipe[record.recipe].append(record)
    chosen = []
    for group in of_recipe.values():
        ranked = sorted(group, key=lambda r: r.value or 0.0, reverse=maximize)  # stable: the earlier trial first
        ranked.sort(key=lambda record: _judged(record, milestones), reverse=True)
        own: list[TrialRecord] = []
        for record in ranked:
            if len(own) < top and record.config not in [better.config for better in own]:
                own.append(record)
        chosen += own
    return chosen


def _judged(record: TrialRecord, milestones: list[int]) -> int:
    return len(milestones) + 1 if record.state == "running" else rung_of(record, milestones)


def rung_of(record: TrialRecord, at: list[int]) -> int:
    """Return the number of rungs a trial reached. One that ended by itself reached the top, above all milestones."""
    return len(at) + 1 if record.state == "complete" else sum(milestone <= len(record.epochs) for milestone in at)
