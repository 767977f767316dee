"""The facts in which experiments differ: settings, environments, data, configurations; a column for each experiment."""

from collections.abc import Sequence
from dataclasses import dataclass

from search_spaces import space_of
from tune.reporting.command import setting_text
from tune.reporting.comparison import Contender, grouped, same_images
from tune.reporting.formatting import NOTHING, TIMES, setting
from tune.settings.groups import DisplaySettings, Mark, WandbSettings
from tune.settings.settings import marked

OF_PLACE = ("name", *marked(Mark.PLACE), *DisplaySettings.model_fields, *WandbSettings.model_fields)
"""The settings that do not affect results."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a table with one column per experiment: a name and its values; a missing value is a dash."""

    name: str
    values: list[str]

    @property
    def differs(self) -> bool:
        """Return True if the values, apart from missing ones, differ."""
        return len(set(self.values) - {NOTHING}) > 1


def settings_that_differ(contenders: Sequence[Contender]) -> list[Line]:
    """Return the settings in which experiments differ."""
    columns = []
    for contender in contenders:
        settings = contender.results.settings
        given = settings.model_dump(exclude={"set", *OF_PLACE}).items()
        texts = {name.replace("_", "-"): _text(value) for name, value in given if value not in (None, ())}
        columns.append(texts | {f"set {key}": text for key, text in settings.set.items()})
    return _not_alike(columns)


def environments_that_differ(contenders: Sequence[Contender]) -> list[Line]:
    """Return the differences between the machines and versions that experiments ran on."""
    return _not_alike([dict(contender.results.environment_facts()) for contender in contenders])


def data_of(contenders: Sequence[Contender]) -> list[Line]:
    """Return facts about the data of each experiment, and which experiments share val and test images."""
    columns = []
    for contender in contenders:
        card, shape = contender.results.card, contender.results.experiment.shape
        facts = {"source": card["source"], "classes": f"{shape.classes:,}"}
        facts |= {f"{split} images": f"{count:,}" for split, count in card["images"].items()}
        facts |= {"size": f"{shape.width} {TIMES} {shape.height} pixels", "variant": card["variant"]}
        columns.append(facts | {"digest": card["digest"][:16]})
    same = [Line(name=f"{split} images as in", values=_whose(contenders, split)) for split in ("val", "test")]
    return [*_lines(columns), *same]


def configurations(contenders: Sequence[Contender]) -> list[Line]:
    """Return the configurations of the winners, or of the best trials so far."""
    columns = []
    for contender in contenders:
        config = contender.entry.config or {}
        fields = [name for name in space_of(contender.recipe).domains() if name in config]
        columns.append({"recipe": contender.chosen} | {name: setting(config[name]) for name in fields})
    return _lines(columns)


def _text(value: object) -> str:
    return ", ".join(map(setting_text, value)) if isinstance(value, tuple) else setting_text(value)


def _whose(contenders: Sequence[Contender], split: str) -> list[str]:
    """Return, for each experiment, the name of the first one that has the same images in a split."""
    groups = grouped(contenders, lambda ours, theirs: same_images(ours, theirs, split))
    first = {contender.name: group[0].name for group in groups for contender in group}
    return [first[contender.name] for contender in contenders]


def _not_alike(columns: Sequence[dict[str, str]]) -> list[Line]:
    return [line for line in _lines(columns) if len(set(line.values)) > 1]


def _lines(columns: Sequence[dict[str, str]]) -> list[Line]:
    names = dict.fromkeys(name for column in columns for name in column)
    return [Line(name=name, values=[column.get(name, NOTHING) for column in columns]) for name in names]
