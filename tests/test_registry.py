from __future__ import annotations

from collections.abc import Callable

import pytest

from kdsweep.errors import UserError
from kdsweep.registry import Registry, did_you_mean, importing


def animals() -> Registry[int]:
    registry = Registry("animal", {"cat": 4})
    registry.add("hen", 2)
    return registry


def test_entries_are_found_by_name_in_the_order_in_which_they_were_added() -> None:
    registry = animals()
    assert registry.names() == tuple(registry) == ("cat", "hen")
    assert registry.get("hen", given="zoo.hen") == registry["hen"] == 2
    assert registry.find("hen") == 2
    assert registry.find("cow") is None
    assert "hen" in registry
    assert "cow" not in registry


def test_add_decorates_what_it_adds_and_leaves_it_as_it_is() -> None:
    functions: Registry[Callable[[int], int]] = Registry("function")

    @functions.add("twice")
    def twice(x: int) -> int:
        return 2 * x

    assert functions["twice"] is twice
    assert twice(3) == 6


def test_a_name_is_taken_once() -> None:
    registry = animals()
    for again in (lambda: registry.add("cat", 3), lambda: registry.add("cat")(3)):
        with pytest.raises(UserError, match=r"^animal cat: .* choose another name$"):
            again()
    assert registry["cat"] == 4


def test_a_users_module_may_add_its_own_again_as_it_does_when_it_is_reloaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kdsweep.registry.ORIGINS", {})
    registry = animals()
    registry.add("cow", 4, origin="mine")
    registry.add("cow", 5, origin="mine")
    assert registry["cow"] == 5
    with importing("plugin"):
        registry.add("dog", 6, origin="mine")
        registry.add("ant", 1)  # kdsweep's own, imported meanwhile
    for name, origin in (("cow", "other"), ("dog", "mine"), ("cat", "mine"), ("ant", "plugin")):
        with pytest.raises(UserError, match="choose another name"):
            registry.add(name, 3, origin=origin)


def test_a_name_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError) as error:
        animals().get("henn", given="zoo.henn")
    assert str(error.value) == (
        "zoo.henn: no such animal; allowed is one of cat, hen; did you mean hen?"
    )
    with pytest.raises(UserError, match=r"cat, hen$"):
        animals().get("zebra", given="zoo.zebra")


def test_a_registry_is_not_changed_by_what_it_was_made_of() -> None:
    first = {"cat": 4}
    registry = Registry("animal", first)
    first["cat"] = 5
    registry.add("hen", 2)
    assert registry["cat"] == 4
    assert list(first) == ["cat"]


def test_only_what_is_close_is_suggested() -> None:
    assert did_you_mean("hintn", ["dkd", "hinton"]) == "; did you mean hinton?"
    assert did_you_mean("zebra", ["dkd", "hinton"]) == ""
