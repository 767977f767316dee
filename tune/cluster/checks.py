"""Checks before a search, of this machine and of every node of a cluster. `toprung doctor` checks more."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from rich.console import Console

from search_spaces import InputError
from tune.cluster.machine import Finding, Machine, differences, examined, look, on_node, places_of
from tune.cluster.nodes import prepare_nodes
from tune.cluster.resources import Resources
from tune.experiment.experiment import Experiment
from tune.experiment.input_variants import folders_of
from tune.experiment.inputs import SearchInputs
from tune.experiment.trial_context import TrialContext
from tune.settings.groups import HERE
from tune.settings.settings import Settings
from tune.terminal.console import working


def check_machine(settings: Settings, console: Console, look: Callable[[Mapping[str, str]], Machine] = look) -> None:
    """Refuse at once any settings that would fail on this machine only after minutes.

    Args:
        settings: the settings.
        console: for warnings.
        look: examines this machine, given the folders that a search writes to.

    Raises:
        InputError: the search would fail.
    """
    if settings.wandb == "off" and (given := settings.given_for_wandb()):
        raise InputError(f"--{given[0].replace('_', '-')}: is for W&B, which is off; add --wandb online or offline")
    trains_on_gpus = settings.address == HERE and settings.gpus_per_trial != 0
    _heed(examined(look(places_of(settings)), trains_on_gpus=trains_on_gpus), console)


def prepare_cluster(experiment: Experiment, inputs: SearchInputs, resources: Resources, console: Console) -> None:
    """Give every node of a cluster the files that it needs, and let it check the rest.

    Raises:
        InputError: the search would fail on one of the nodes.
    """
    settings = experiment.settings
    if settings.address == HERE:
        return
    with working(console, "copying images and weights to where all nodes see them"):
        inputs.share(settings.out)
    context = TrialContext.of(experiment, resources.device, resources.threads)
    shown = [replace(context, folders=folders_of(experiment, [input_variant])) for input_variant in inputs.data]
    with working(console, "preparing the nodes") as say:
        found = prepare_nodes(
            shown, places_of(settings), progress=lambda done, total: say(f"preparing the nodes: {done} of {total}")
        )
    here = look({})
    for there, has_gpus in found:
        findings = examined(there, trains_on_gpus=has_gpus and resources.gpus > 0)
        _heed(on_node(there.host, [*findings, *differences(there, here)]), console)


def _heed(findings: Iterable[Finding], console: Console) -> None:
    """Print the warnings, and raise InputError if there are errors. Findings that are fine are not printed."""
    errors = []
    for finding in findings:
        if finding.level == "warning":
            console.print(f"warning: {finding.text}", style="yellow", markup=False, soft_wrap=True)
        elif finding.level == "error":
            errors.append(finding.text)
    if errors:
        raise InputError("; ".join(errors))
