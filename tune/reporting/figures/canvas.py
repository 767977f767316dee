"""Drawing by Matplotlib into PNG files of one width, in the look of the page's light theme.

The code uses only Matplotlib's objects and Agg: no window and no shared state. Matplotlib is not imported before
something is drawn, as the import takes seconds.
"""

import logging
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageColor

from tune.reporting.figures.series import PALETTE
from tune.reporting.formatting import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 900
"""The width of a picture in screen pixels; all heights here are in screen pixels, too."""

SHARP = 2
"""Pixels of the picture per screen pixel."""

LINE = 30
"""Screen pixels from one line of a table or matrix to the next."""

MAX_FILE_BYTES = 150_000
"""The largest size of a file in bytes."""

TINTS = ((1, 16), (1, 8), (2, 16), (2, 8), (2, 4), (2, 2))
"""Steps of making a file smaller, tried until it is small enough: divisor of the picture's size, tints of each color.

Hundreds of translucent lines on top of each other make thousands of tints."""

RIGHT, WRONG = PALETTE[:2]
TEXT, SOFT, GRID = "#1c2127", "#646d78", "#e3e6ea"

FONTS = ["DejaVu Sans", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "PingFang SC", "Microsoft YaHei", "Arial Unicode MS"]
"""The first font comes with Matplotlib; the others have glyphs that it lacks, if a machine has them."""

STYLE = {
    "text.parse_math": False,  # a dollar sign in a name is just a dollar sign
    "agg.path.chunksize": 10000,  # a longer path may be too much for Agg
    "font.family": FONTS,
    "font.size": 9.4,  # points, which are 13 pixels at 100 pixels an inch
    "text.color": TEXT,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.formatter.limits": (-9, 12),  # no factor above the axis, where the legend is
    "axes.formatter.useoffset": False,
    "grid.color": GRID,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.labelcolor": TEXT,
}


def png(draw: Callable[["Axes"], None], height: float) -> bytes:
    """Return a drawing by `draw` as a PNG file, `height` screen pixels high."""
    with _quiet():
        from matplotlib import rc_context, rcParamsDefault
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        style: Any = {key: value for key, value in rcParamsDefault.items() if not key.startswith("backend")}
        with rc_context(style | STYLE):  # regardless of a person's own configuration
            figure = Figure(figsize=(WIDTH / 100, height / 100), dpi=100 * SHARP, layout="constrained")
            canvas: Any = FigureCanvasAgg(figure)
            draw(figure.add_subplot())
            canvas.draw()
            picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    for smaller, tints in TINTS:
        file = _file(picture.reduce(smaller), tints)
        if len(file) <= MAX_FILE_BYTES:
            break
    return file


def _file(picture: Image.Image, tints: int) -> bytes:
    """Return a PNG limited to the colors used here, each in `tints` steps from white."""
    pure = np.array([ImageColor.getrgb(colour) for colour in (*PALETTE, TEXT, SOFT)])
    steps = np.arange(1, tints + 1)[:, None, None] / tints
    colours = np.concatenate([(255 + steps * (pure - 255)).reshape(-1, 3), [(255, 255, 255), ImageColor.getrgb(GRID)]])
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours.round().astype(int).ravel().tolist())
    file = BytesIO()
    picture.quantize(palette=palette, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence messages about fonts, missing glyphs, and a home folder that cannot be written."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def clean(text: str, longest: int) -> str:
    """Return `text` on one line, in printable characters, cut to `longest` characters."""
    line = " ".join(printable(text).split())
    line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def numbers(values: Iterable[float | None]) -> list[float]:
    """Return values for Matplotlib, with None as NaN, which it leaves out."""
    return [math.nan if value is None else value for value in values]


def lines_high(count: int) -> float:
    """Return the height of a picture with `count` lines and an axis."""
    return 60 + LINE * count


def whisker(axes: "Axes", place: float, mean: float, ends: tuple[float, float], colour: str) -> None:
    """Draw a mean with its interval, on the line at `place`."""
    axes.plot(ends, (place, place), color=colour, linewidth=2.2, alpha=0.45, solid_capstyle="round")
    axes.plot(mean, place, "o", color=colour, markersize=7)


def name_lines(axes: "Axes", names: list[str], figures: Sequence[str] = ()) -> None:
    """Write the names of the lines, from the top, and `figures` at the ends of the lines."""
    axes.set_yticks(range(len(names)), names, color=TEXT)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    for place, text in enumerate(figures):
        axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center_baseline")


def count_along(axes: "Axes", last: float, step: int) -> None:
    """Set up an x-axis of epochs or trials, from 0."""
    axes.set_xticks(range(0, int(last) + 1, step))
    margin = 0.02 * max(last, 1)
    axes.set_xlim(-margin / 2, last + margin)


def legend(axes: "Axes") -> None:
    """Draw the legend above the axes, in as many lines as needed."""
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=5, borderaxespad=0.3, handlelength=1.6)
