"""Networks and pretrained weights for fine-tuning, checked and found before a search begins."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from rich.console import Console

from search_spaces import Choice, Domains, InputError, Int, Space, Value, space_of
from search_spaces.shared.fine_tuning import FineTuning
from trainables.data import Prepared
from trainables.pretrained.fine_tuning import count_stages
from trainables.pretrained.weights import find_weights, zoo_of
from trainables.storage.pretrained_files import Weights
from tune.experiment.input_variants import InputVariant, main_input_variant
from tune.experiment.planned_rows import plan
from tune.settings.preset import Preset
from tune.settings.settings import Settings
from tune.terminal.console import working


def pretrained_weights(
    settings: Settings, preset: Preset | None, input_variants: Mapping[InputVariant, Prepared], console: Console
) -> dict[str, Weights]:
    """Find the pretrained weights of all networks that may be trained, by `RECIPE.MODEL`.

    Raises:
        InputError: a network is unknown or has fewer stages than shall be trained, weights cannot be found, or weights
            are given although none are needed.
    """
    found = {}
    rows = (
        plan(preset, settings, {input_variant: prepared.card for input_variant, prepared in input_variants.items()})
        if preset
        else []
    )
    given = Path(settings.weights) if settings.weights else None
    kept = Path(settings.cache) / "weights"
    for recipe in settings.recipes:
        space = space_of(recipe)
        if not issubclass(space, FineTuning):
            continue
        domains = space.clamped(input_variants[main_input_variant(settings)].shape, settings.domains(recipe))
        published = [config for row in rows for config in row.candidates if row.row.recipe == recipe]
        _check_networks(recipe, domains, published, console)
        assert isinstance(domains["model"], Choice)
        searched = domains["model"].options if "yes" in domains["pretrained"] and not settings.rows_only else ()
        pretrained = [config["model"] for config in published if config["pretrained"] == "yes"]
        names = list(dict.fromkeys(map(str, [*searched, *pretrained])))
        if given is not None and given.is_file() and len(names) > 1:
            raise InputError(
                f"--weights {given}: is one file, but {', '.join(names)} are searched; fix one by "
                f"--set {recipe}.model={names[0]}, or give a folder with a file for each"
            )
        for name in names:
            with working(console, f"pretrained weights of {name}"):
                found[f"{recipe}.{name}"] = find_weights(zoo_of(recipe), name, given=given, cache=kept)
    if given is not None and not found:
        could = [recipe for recipe in settings.recipes if issubclass(space_of(recipe), FineTuning)]
        way = f"say --set {could[0]}.pretrained=yes" if could else "search a recipe that can, such as timm_finetune"
        raise InputError(
            f"--weights {given}: nothing that is trained ({', '.join(settings.recipes)}) begins with pretrained "
            f"weights; leave it out, or {way}"
        )
    return found


def _check_networks(recipe: str, domains: Domains, published: list[dict[str, Value]], console: Console) -> None:
    """Refuse a network that its library does not have, or that has fewer stages than shall be trained.

    The networks of a recipe's own search space are known to have the stages that the recipe searches.
    """
    model, last = domains["model"], domains["last_stages"]
    assert isinstance(model, Choice)
    most = max(map(int, last.options)) if isinstance(last, Choice) else int(last.high)
    trained = {str(name): most if "partial" in domains["strategy"] else 0 for name in model.options}
    for config in published:
        name = str(config["model"])
        trained[name] = max(trained.get(name, 0), int(config.get("last_stages", 0)))
    zoo, space = zoo_of(recipe), space_of(recipe)
    usual = space.searched()["last_stages"]
    assert isinstance(usual, Int)
    for name, wanted in trained.items():
        if name in _known(space) and wanted <= usual.high:
            continue
        with working(console, f"stages of {name}"):
            count = count_stages(partial(zoo.untrained, name))
        if wanted > count:
            raise InputError(
                f"{recipe}.last_stages={wanted}: {name} has {count} stages; train at most these: "
                f"--set {recipe}.last_stages=1..{count}"
            )


def _known(space: type[Space]) -> set[str]:
    """Return the networks of a recipe's own search space."""
    model = space.domains()["model"]
    assert isinstance(model, Choice)
    return set(map(str, model.options))
