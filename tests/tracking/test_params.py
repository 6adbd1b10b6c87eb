from __future__ import annotations

from dataclasses import dataclass, field

from kdsweep.config import Config, DistillConfig
from kdsweep.tracking.params import clip, flatten, key_name


@dataclass
class Inner:
    lr: float = 1e-3
    name: str | None = None


@dataclass
class Outer:
    inner: Inner = field(default_factory=Inner)
    bank: bool = True
    mean: list[float] = field(default_factory=lambda: [0.5, 0.25])
    losses: dict[str, dict[str, float]] = field(default_factory=lambda: {"dkd": {"weight": 2.0}})
    none: dict[str, float] = field(default_factory=dict)


def test_nested_settings_become_dotted_names_spelled_as_on_the_command_line() -> None:
    assert flatten(Outer()) == {
        "inner.lr": "0.001",
        "inner.name": "null",
        "bank": "true",
        "mean": "[0.5,0.25]",
        "losses.dkd.weight": "2.0",
        "none": "{}",
    }


def test_flat_and_empty_mappings() -> None:
    assert flatten({"seed": 3}) == {"seed": "3"}
    assert flatten({}) == {}


def test_a_list_of_mappings_is_one_parameter() -> None:
    assert flatten({"a": [{"b": None}, (1, False)]}) == {"a": "[{b:null},[1,false]]"}


def test_the_whole_configuration_is_flat() -> None:
    flat = flatten(Config(distill=DistillConfig(losses={"hinton": {"weight": 1}})))
    assert flat["train.optimizer.lr"] == "0.001"
    assert flat["distill.losses.hinton.weight"] == "1.0"
    assert flat["verdict.futility"] == "null"
    assert all(isinstance(value, str) for value in flat.values())


def test_long_values_and_keys_are_cut_with_an_ellipsis() -> None:
    assert clip("abcdef", 6) == "abcdef"
    assert clip("abcdefg", 6) == "abcde…"
    flat = flatten({"k" * 300: "v" * 7000})
    (key, value), *_ = flat.items()
    assert (len(key), key[-4:]) == (250, "k...")
    assert (len(value), value[-2:]) == (6000, "v…")


def test_names_keep_to_the_letters_that_mlflow_allows() -> None:
    assert key_name("accuracy/class a-1.b:c") == "accuracy/class a-1.b:c"
    assert key_name("w=1,[2]") == "w_1__2_"
