from pathlib import Path

import pytest
import yaml

from search_spaces import Choice, Float, InputError, recipes
from tune.settings.groups import DEFAULT_RECIPES
from tune.settings.settings import Settings, make
from tune.settings.settings_file import load


def test_settings_read_back_what_they_wrote(tmp_path: Path) -> None:
    settings = make({"name": "a", "trials": 7, "set": {"mlp.lr": "1e-3..1e-2"}, "time_budget": "10m", "seed": 3})
    (tmp_path / "settings.yaml").write_text(settings.dump())
    assert make(load(tmp_path / "settings.yaml")) == settings


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        make({}).trials = 3  # type: ignore[misc]


def test_values_may_be_text_as_on_the_command_line() -> None:
    settings = make({"trials": "12", "recipes": "knn, mlp", "split": "0.6,0.2,0.2", "time_budget": "1.5h"})
    assert (settings.trials, settings.recipes, settings.split) == (12, ("knn", "mlp"), (0.6, 0.2, 0.2))
    assert settings.time_budget == 5400


def test_a_split_may_be_numbers_of_images_and_goes_through_a_file(tmp_path: Path) -> None:
    settings = make({"name": "a", "split": "rest, 1000,0"})
    assert settings.split == ("rest", 1000, 0)
    (tmp_path / "settings.yaml").write_text(settings.dump())
    assert make(load(tmp_path / "settings.yaml")) == settings


def test_a_name_is_made_of_data_set_and_time() -> None:
    assert make({"data": "/some/where/My photos!"}).name.startswith("My-photos-20")
    assert make({"data": "fashion_mnist:/x"}).name.startswith("fashion_mnist-20")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"recipes": "resnet"}, "no recipe 'resnet'; there are: block_cnn, knn, mlp"),
        ({"recipes": ""}, "recipes: none given"),
        ({"recipes": "knn,knn"}, "names one twice"),
        ({"metric": "auc"}, "--metric 'auc': input should be 'accuracy', 'macro_f1', 'weighted_f1' or 'loss'"),
        ({"trials": 0}, "--trials 0: input should be greater than or equal to 1"),
        ({"trials": "many"}, "--trials 'many': input should be a valid integer"),
        ({"time_budget": "soon"}, "--time-budget 'soon': write seconds, or a number with s, m, h or d"),
        ({"time_budget": "."}, "--time-budget '.'"),
        ({"gpus_per_trial": 2}, "--gpus-per-trial 2: a trial trains on one GPU at most, as a search gains more"),
        ({"cpus_per_trial": 1.5}, "use a whole number"),
        ({"name": "../up"}, "'../up': cannot name a folder"),
        *(({"name": n}, "cannot name a folder") for n in ("/tmp/x", "..", ".x", "a/b", "a\nb", "<b>", "a" * 65)),
        ({"set": {"knn.neighbors": "9..3"}}, "knn.neighbors=9..3 is reversed; write 3..9"),
        ({"set": {"knn.neighbors": "100"}}, "knn.neighbors=100 is outside its domain; choose from 1..64"),
        ({"set": {"mlp.lr": "0..1e-2"}}, "mlp.lr=0 is outside its domain"),
        ({"set": {"knn.depth": "2"}}, "knn has no field 'depth'; it has: input_variant, scale"),
        ({"set": {"neighbors": "2"}}, "--set neighbors: is not recipe.field"),
        ({"set": {"resnet.lr": "2"}}, "no recipe 'resnet'"),
        ({"set": {"mlp.lr": "1e-3"}, "recipes": "knn"}, "mlp.lr: is of a recipe that is not searched"),
        ({"split": "0.5,0.5"}, "--split '0.5,0.5': write three fractions, of train, val and test"),
        ({"split": "80/10/10"}, "--split '80/10/10': write three fractions, of train, val and test"),
        ({"split": 3}, "--split 3: write three fractions"),
        ({"split": "rest,many,0"}, "--split 'rest,many,0': write three fractions, of train, val and test, such as"),
        ({"variant": "boxes"}, "--variant 'boxes': input should be 'whole', 'box' or 'either'"),
        ({"normalize_classes": "perhaps"}, "--normalize-classes 'perhaps': input should be a valid boolean"),
        ({"set": {"knn": "3"}}, "--set knn: is not recipe.field"),
        ({"time_budget": "1..5"}, "write seconds, or a number with s, m, h or d"),
        (
            {"out": "ftp://host/results"},
            "--out 'ftp://host/results': is no folder and in no bucket; write a path, s3://",
        ),
        (
            {"out": "s3://bucket/re sults"},
            "--out 's3://bucket/re sults': is no folder and in no bucket; write a path, s3",
        ),
        (
            {"out": "s3://../results"},
            "--out 's3://../results': is no folder and in no bucket; write a path, s3://BUCKET",
        ),
        ({"colour": 1}, "--colour 1: extra inputs are not permitted"),
    ],
)
def test_a_wrong_value_is_refused_in_one_line(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as error:
        make(values)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trails: 3", "has unknown keys: trails .did you mean trials..; known: data, limit"),
        ("- a\n- b", "is not a mapping"),
        ("a: [", "is not YAML"),
        ("set: [a]", "set is not a mapping"),
        ("set: 3", "set is not a mapping"),
        ("\0", "is not YAML"),
    ],
)
def test_a_broken_settings_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(InputError, match=message) as error:
        load(tmp_path / "s.yaml")
    assert "\n" not in str(error.value)


def test_an_empty_set_is_no_restriction(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("trials: 3\nset:\n")
    assert make(load(tmp_path / "s.yaml")).set == {}


def test_the_file_of_an_sqlite_storage_is_kept_by_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert make({"storage": "sqlite:///s.db"}).storage == f"sqlite:///{tmp_path / 's.db'}"
    assert make({"storage": "postgresql://u@h/d"}).storage == "postgresql://u@h/d"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hidden@h/d",
        "postgresql+psycopg://u:hid/den@h:5432/d",
        "postgresql://u:hid@hidden@h/d",
        "postgresql://u@h/d?password=hidden",
        "postgresql://u@h/d?sslpassword=hidden",
        "mysql://u:hidden@h/d",
        "postgresql://u:hidden@h:port/d",
    ],
)
def test_a_storage_with_a_password_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(InputError, match=r"leave it out, and give it by PGPASSWORD, ~/.pgpass or a service") as error:
        make({"storage": url})
    assert "hid" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("url", ["postgresql:///?service=team", "postgresql://u@h:5432/d?sslmode=require", "nonsense"])
def test_a_storage_without_a_password_is_kept(url: str) -> None:
    assert make({"storage": url}).storage == url


def test_a_cluster_says_where_it_is_and_where_results_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("TOPRUNG_OUT", raising=False)
    assert (make({}).address, make({}).out) == ("local", str(tmp_path / "results"))
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv("TOPRUNG_OUT", "/mnt/shared/results")
    assert (make({}).address, make({}).out) == ("auto", "/mnt/shared/results")
    given = make({"address": "local", "out": "here"})
    assert (given.address, given.out) == ("local", str(tmp_path / "here"))


def test_a_missing_settings_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load(tmp_path / "none.yaml")


def test_set_narrows_what_is_searched_also_nested_in_yaml() -> None:
    nested = yaml.safe_load("set: {mlp: {lr: 1e-3..1e-2, norm: batch}, knn.neighbors: 5}")
    settings = make(nested)
    assert settings.domains("mlp")["lr"] == Float(1e-3, 1e-2, log=True)
    assert settings.domains("mlp")["norm"] == Choice(("batch",))
    assert settings.domains("knn")["neighbors"] == Choice((5,))


def test_a_bare_no_in_yaml_and_false_on_the_command_line_are_no(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("recipes: [timm_finetune]\nset: {timm_finetune: {pretrained: no}}\n")
    given = {"recipes": "timm_finetune", "set": {"timm_finetune.pretrained": "false"}}
    for settings in (make(load(tmp_path / "s.yaml")), make(given)):
        assert settings.domains("timm_finetune")["pretrained"] == Choice(("no",))


def test_fields_that_are_fixed_by_default_are_searched_when_they_are_named() -> None:
    assert make({}).domains("mlp")["clip_norm"] == Choice((0.0,))
    assert make({"set": {"mlp.clip_norm": "0.5..5"}}).domains("mlp")["clip_norm"] == Float(0.5, 5.0)
    assert make({"set": {"mlp.optimizer": "adam"}}).domains("mlp")["optimizer"] == Choice(("adam",))


def test_the_quick_recipes_are_searched_by_default() -> None:
    assert make({}).recipes == DEFAULT_RECIPES
    assert set(DEFAULT_RECIPES) <= set(recipes())


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_paths_mean_the_same_wherever_a_search_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    settings = make({"data": "photos", "out": "results", "cache": "cache"})
    assert (settings.data, settings.out, settings.cache) == tuple(
        str(tmp_path / n) for n in ("photos", "results", "cache")
    )
    assert make({"data": "fashion_mnist:photos"}).data == f"fashion_mnist:{tmp_path / 'photos'}"
    assert make({"data": "parquet:photos/*.parquet"}).data == f"parquet:{tmp_path / 'photos/*.parquet'}"
    (tmp_path / "digits").mkdir()
    assert make({"data": "digits"}).data == "digits"
    assert make({"data": "./digits"}).data == str(tmp_path / "digits")
    assert make({"data": "nowhere"}).data == "nowhere"  # refused later, with a list of the sources
    assert make({}).out == str(tmp_path / "results")
