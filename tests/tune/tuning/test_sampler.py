import pickle

import optuna
import pytest

from search_spaces import Choice, DataShape, Int, recipes, space_of
from tune.experiment.trial_record import TrialRecord
from tune.settings.settings import make
from tune.tuning.optuna_space import parameters, suggest
from tune.tuning.sampler import Draw, RecipeSampler, fingerprint, seed_of

SHAPE = DataShape(samples=1000, channels=1, height=8, width=8, classes=10)


def domains(recipe: str = "knn"):  # type: ignore[no-untyped-def]
    return space_of(recipe).clamped(SHAPE)


def sampler(*names: str, seed: int = 0) -> RecipeSampler:
    return RecipeSampler({n: domains(n) for n in names or ("knn",)}, {}, seed=seed, startup=4, maximize=True)


def record(number: int, draw: Draw, state: str = "complete", value: float = 0.5, diverged: bool = False) -> TrialRecord:
    return TrialRecord(
        number=number, recipe=draw.recipe, config=draw.config, seed=0, params=draw.params,
        distributions=draw.distributions, state=state, values={1: value}, diverged=diverged,  # type: ignore[arg-type]
    )  # fmt: skip


def play(s: RecipeSampler, rounds: int, known: list[TrialRecord] | None = None) -> list[TrialRecord]:
    """One trial after another, each better the nearer its neighbours are to 20."""
    records = list(known or [])
    for number in range(len(records), rounds):
        drawn = s.draw(number, {fingerprint(r.recipe, r.config) for r in records})
        assert drawn is not None
        value = 1 - abs(drawn.config.get("neighbors", 0) - 20) / 64  # type: ignore[operator]
        records.append(record(number, drawn, value=value))
        s.ended(records[-1])
    return records


@pytest.mark.parametrize("recipe", recipes())
def test_drawn_configurations_lie_in_the_clamped_space_and_have_its_active_fields(recipe: str) -> None:
    s, space = sampler(recipe), space_of(recipe)
    tried: set[str] = set()
    for number in range(40):
        drawn = s.draw(number, tried)
        assert drawn is not None
        configuration = space.parse(drawn.config)
        assert configuration.active() == drawn.config
        assert all(value in domains(recipe)[name] for name, value in drawn.config.items())
        tried.add(fingerprint(recipe, drawn.config))
    assert len(tried) == 40


@pytest.mark.parametrize("recipe", recipes())
def test_the_default_point_comes_first(recipe: str) -> None:
    drawn = sampler(recipe).draw(0, set())
    assert drawn is not None
    assert drawn.config == space_of(recipe).default(domains(recipe)).active()


def test_choosing_among_recipes_tries_each_default_first() -> None:
    s = sampler("knn", "mlp")
    first, second, *_ = play(s, 12)
    assert {first.recipe, second.recipe} == {"knn", "mlp"}
    assert first.config == space_of("knn").default(domains("knn")).active()


def test_where_whole_images_and_boxes_are_searched_defaults_are_tried_on_both() -> None:
    both = make({"recipes": "knn,mlp", "variant": "either", "set": {"mlp.input_variant": "box"}})
    own = {recipe: space_of(recipe).clamped(SHAPE, both.domains(recipe)) for recipe in both.recipes}
    first = play(RecipeSampler(own, {}, seed=0, startup=4, maximize=True), 4)
    assert [(r.recipe, r.config["input_variant"]) for r in first[:3]] == [
        ("knn", "whole"),
        ("mlp", "box"),
        ("knn", "box"),
    ]
    assert {**first[0].config, "input_variant": "box"} == first[2].config


def test_points_to_start_from_come_after_the_defaults_and_once() -> None:
    near = [space_of("knn")(neighbors=n).within(domains()) for n in (7, 9, 7, 5)]  # 5 is the default
    s = RecipeSampler({"knn": domains(), "mlp": domains("mlp")}, {"knn": near}, seed=0, startup=4, maximize=True)
    drawn = play(s, 6)
    assert {r.recipe for r in drawn[:2]} == {"knn", "mlp"}
    assert [r.config["neighbors"] for r in drawn[2:4]] == [7, 9]
    assert drawn[4].config not in [point.active() for point in near]


def test_a_sampler_rebuilt_from_the_records_goes_on_the_same() -> None:
    whole = play(sampler(), 25)
    rebuilt = sampler()
    for known in whole[:13]:
        rebuilt.ended(known)
    assert [r.config for r in play(rebuilt, 25, whole[:13])] == [r.config for r in whole]


def test_another_seed_draws_others() -> None:
    assert [r.config for r in play(sampler(seed=1), 8)][1:] != [r.config for r in play(sampler(seed=2), 8)][1:]


@pytest.mark.slow
def test_it_learns() -> None:
    """Later draws are nearer to the optimum than the random ones at the start."""
    distances = [abs(r.config["neighbors"] - 20) for r in play(sampler(), 60)]  # type: ignore[operator]
    assert sum(distances[40:]) / 20 < 0.7 * sum(distances[1:11]) / 10


@pytest.mark.slow
def test_all_of_a_finite_space_is_found_before_it_is_exhausted() -> None:
    settings = make(
        {"recipes": "knn", "set": {"knn.scale": "none", "knn.reduce": "none", "knn.weights": "uniform",
         "knn.smoothing": "0.1"}}
    )  # fmt: skip
    domains = space_of("knn").clamped(SHAPE, settings.domains("knn"))
    sampler = RecipeSampler({"knn": domains}, {}, seed=0, startup=4, maximize=True)
    tried: set[str] = set()
    for number in range(64):
        drawn = sampler.draw(number, tried)
        assert drawn is not None
        tried.add(fingerprint("knn", drawn.config))
    assert len(tried) == 64
    assert sampler.draw(64, tried) is None


@pytest.mark.slow
def test_it_keeps_away_from_what_diverged() -> None:
    """The side of a switch that always diverges is drawn less and less."""
    s = sampler("mlp")
    sides = []
    tried: set[str] = set()
    for number in range(60):
        drawn = s.draw(number, tried)
        assert drawn is not None
        tried.add(fingerprint("mlp", drawn.config))
        sides.append(drawn.config["optimizer"])
        diverged = drawn.config["optimizer"] == "sgd"
        s.ended(record(number, drawn, "failed" if diverged else "complete", diverged=diverged))
    assert sides[30:].count("sgd") < 10


def test_a_small_space_is_exhausted_without_a_repetition() -> None:
    few = {**{n: Choice((d.nearest(getattr(space_of("knn")(), n)),)) for n, d in domains().items()}}
    few |= {"neighbors": Int(1, 3), "weights": Choice(("uniform", "distance"))}
    s = RecipeSampler({"knn": few}, {}, seed=0, startup=4, maximize=True)
    tried: set[str] = set()
    while drawn := s.draw(len(tried), tried):
        tried.add(fingerprint("knn", drawn.config))
    assert len(tried) == 6


def test_what_was_drawn_survives_pickling() -> None:
    drawn = sampler("plain_cnn").draw(0, set())
    assert pickle.loads(pickle.dumps(drawn)) == drawn


def test_optuna_draws_a_configuration_from_its_own_parameters() -> None:
    for recipe in recipes():
        space = space_of(recipe)
        trial = optuna.create_study().ask()
        drawn = suggest(trial, recipe, space, domains(recipe))
        assert trial.params == parameters(recipe, drawn, domains(recipe))
        assert all(name.startswith(f"{recipe}.") for name in trial.params)


def test_seeds_differ_by_each_number() -> None:
    assert len({seed_of(a, b) for a in range(20) for b in range(20)}) == 400
    assert seed_of(1, 2) == seed_of(1, 2)
