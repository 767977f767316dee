"""Conformance of every recipe, found by its file; the checks also find faulty recipes."""

from functools import partial
from pathlib import Path

import pytest

from search_spaces import add_recipes, recipes
from trainables.training.conformance import CHECKS, Check, Samples, _faults, conform, resumes

QUICK = {"knn", "mlp", "plain_cnn"}


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return Samples.make(tmp_path_factory.mktemp("samples"))


@pytest.mark.parametrize(
    ("recipe", "check"),
    [
        pytest.param(
            recipe,
            check,
            marks=[] if recipe in QUICK and check is not resumes else [pytest.mark.slow],
            id=f"{recipe}-{check.__name__}",
        )
        for recipe in recipes()
        for check in CHECKS
    ],
)
def test_a_recipe_does_what_one_must(recipe: str, check: Check, samples: Samples) -> None:
    assert list(check(recipe, samples)) == []


@pytest.mark.slow
@pytest.mark.usefixtures("_forgets_recipes")
def test_the_recipe_in_the_readme_does_what_one_must(readme_recipe: Path, samples: Samples) -> None:
    assert add_recipes(readme_recipe) == ("linear",)
    results = list(conform("linear", samples))
    assert len(results) > len(CHECKS)
    assert [faults for _, faults in results if faults] == []


LAST_LINE = "    yield from fit("
MODEL = "nn.Linear(pixels, shape.classes)"
SLOWLY = "    space = type(space)(lr=1e-4, batch_size=256)\n"
MIXING = "Mixing(), "


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "before", "after", "fault"),
    [
        ("learns", LAST_LINE, SLOWLY + LAST_LINE, "raise its learning rate?"),
        ("bytes_to_logits", MODEL, MIXING + MODEL, "depend on the others"),
        ("bytes_to_logits", MODEL, "nn.Linear(pixels, 7)", "give (2, 7), not (2, 2)"),
        ("reproducible", LAST_LINE, "    torch.seed()\n" + LAST_LINE, "draw from torch's global generators only"),
        ("resumes", LAST_LINE, "    state = None\n" + LAST_LINE, "is all in Epoch.state that it continues from?"),
        ("windows", "nn.Sequential(preprocess, ", "nn.Sequential(", "its model has 0 Preprocess layers"),
        ("rebuilt", "nn.Flatten()", "Offset(), nn.Flatten()", "is all that it says in parameters and buffers?"),
        ("corners", "nn.Dropout(space.dropout)", "nn.Dropout(space.dropout * 3)", "linear.py, line 1"),
    ],
)
@pytest.mark.usefixtures("_forgets_recipes")
def test_the_checks_find_what_is_wrong(
    readme_recipe: Path, samples: Samples, check: str, before: str, after: str, fault: str
) -> None:
    """The README's recipe is spoilt in several ways."""
    file = readme_recipe / "trainables" / "linear.py"
    code = file.read_text()
    assert before in code
    spoilt = code.replace(before, after).replace("from torch import nn", "import torch\nfrom torch import nn")
    file.write_text(spoilt + LAYERS)
    add_recipes(readme_recipe)
    (found,) = (each for each in CHECKS if each.__name__ == check)
    assert fault in "\n".join(_faults("linear", partial(found, "linear", samples)))


LAYERS = """

class Offset(nn.Module):
    def __init__(self):
        super().__init__()
        self.by = float(torch.rand(()))

    def forward(self, pixels):
        return pixels + self.by


class Mixing(nn.Module):
    def forward(self, pixels):
        return pixels - pixels.mean(0)
"""
