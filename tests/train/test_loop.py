from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kdsweep import streams
from kdsweep.config import Config, OptimizerConfig, ViewsConfig
from kdsweep.errors import TrainingError
from kdsweep.hardware.choose import Hardware
from kdsweep.losses.registry import loss_names
from kdsweep.train.chunk import Chunk
from kdsweep.train.criterion import Total
from kdsweep.train.evaluation import predict
from kdsweep.train.interfaces import Trained
from kdsweep.train.population import Member, Population
from tests.train.setting import (
    BATCH,
    CONFIG,
    EPOCHS,
    GROUPED,
    IMAGES,
    ONE_BY_ONE,
    Net,
    Quiet,
    Setting,
    a_population,
    assert_same,
)

MANY = 25
WATCHED = (0, 3, 24)  # of the members: first, last of five, last


@pytest.fixture(scope="module")
def setting() -> Setting:
    return Setting()


@pytest.fixture(scope="module")
def solo(setting: Setting) -> dict[str, Trained]:
    """Some members, each trained in a population of its own."""
    members = a_population(MANY)
    return {members[i].name: setting.train([members[i]])[members[i].name] for i in WATCHED}


def test_a_solo_run_is_the_plain_loop(setting: Setting, solo: dict[str, Trained]) -> None:
    """As anyone would write it, with torch's own optimiser, clipping, schedule and losses."""
    member = a_population(4)[3]
    seed, hyper = torch.tensor([member.seed]), member.hyper
    with torch.random.fork_rng():
        torch.manual_seed(member.seed)
        model = Net().double()
    optimizer = torch.optim.Adam(
        model.parameters(), lr=hyper["lr"], weight_decay=hyper["weight_decay"]
    )
    steps = IMAGES // BATCH
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: (1 + math.cos(math.pi * step / (EPOCHS * steps))) / 2
    )
    criterion = torch.nn.KLDivLoss(reduction="batchmean", log_target=True)
    temperature, alpha = hyper["temperature"], hyper["alpha"]
    history = []
    for epoch in range(EPOCHS):
        model.train()
        order = streams.permutation(IMAGES, seed, epoch)
        losses = []
        for number in range(steps):
            index = order[:, number * BATCH : (number + 1) * BATCH]
            images = setting.views.render(index, setting.views.sample(seed, epoch, index))[0]
            draws = streams.uniform(
                seed, streams.DROPOUT, epoch * steps + number, 0, torch.arange(BATCH * 4)
            ).view(BATCH, 4)
            model.dropout.forward = lambda x, draws=draws: x * (draws >= 0.4) / 0.6
            logits, labels = model(images), setting.labels[index[0]]
            taught = setting.teacher.double()(images)
            soft = criterion(
                (logits / temperature).log_softmax(1), (taught / temperature).log_softmax(1)
            )
            loss = (1 - alpha) * F.cross_entropy(logits, labels) + alpha * temperature**2 * soft
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        model.eval()
        del model.dropout.forward
        with torch.no_grad():
            logits = model(setting.evaluation.normalise(setting.evaluation.images))
        right = (logits.argmax(1) == setting.evaluation.labels).double().mean()
        nll = F.cross_entropy(logits, setting.evaluation.labels)
        history.append([sum(losses) / steps, 100 * float(right), float(nll)])
    trained = solo["m3"]
    for row, expected in zip(trained.history, history, strict=True):
        got = [row["train_loss"], row["val_accuracy"], row["val_nll"]]
        assert got == pytest.approx(expected, abs=1e-6)  # the accuracy is rounded to float32
        assert [got[0], got[2]] == pytest.approx([expected[0], expected[2]], abs=1e-9)
    torch.testing.assert_close(trained.logits, logits, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("hardware", [ONE_BY_ONE, GROUPED], ids=["loop", "grouped"])
@pytest.mark.parametrize("companions", [4, 24])
def test_a_curve_does_not_depend_on_companions(
    setting: Setting, solo: dict[str, Trained], hardware: Hardware, companions: int
) -> None:
    fused = setting.train(a_population(1 + companions), hardware)
    watched = [name for name in solo if name in fused]
    assert watched
    for name in watched:
        assert_same(solo[name], fused[name])
    curves = [str([row["train_loss"] for row in t.history]) for t in fused.values()]
    assert len(set(curves)) == len(curves)  # the hyperparameters do matter


@pytest.mark.parametrize("hardware", [ONE_BY_ONE, GROUPED], ids=["loop", "grouped"])
def test_place_in_the_population_does_not_matter(
    setting: Setting, solo: dict[str, Trained], hardware: Hardware
) -> None:
    reverse = setting.train(a_population(5)[::-1], hardware)
    assert_same(solo["m0"], reverse["m0"])


@pytest.mark.parametrize("loss", [n for n in loss_names() if n not in ("hinton",)])
def test_every_loss_is_the_same_grouped(loss: str) -> None:
    options = {"dimensions": 4, "negatives": 5} if loss == "crd" else {}
    setting = Setting(loss=loss, options=options)
    members = a_population(3)
    grouped = setting.train(members, GROUPED, epochs=2)
    for member in members:
        alone = setting.train([member], epochs=2)
        assert_same(alone[member.name], grouped[member.name], 1e-8)


@pytest.mark.parametrize("hardware", [ONE_BY_ONE, GROUPED], ids=["loop", "grouped"])
@pytest.mark.parametrize("views", [{"erase": 0.7}, {"mixup": 0.4}, {"erase": 0.5, "mixup": 1.0}])
def test_views_beyond_crops_and_flips(views: dict[str, float], hardware: Hardware) -> None:
    data = dataclasses.replace(CONFIG, views=ViewsConfig(padding=1, **views))
    setting, members = Setting(data=data), a_population(4)
    together = setting.train(members, hardware, epochs=2)
    for member in (members[0], members[3]):
        assert_same(setting.train([member], epochs=2)[member.name], together[member.name])
    plain = Setting().train(members[:1], epochs=2)["m0"]
    assert plain.history != together["m0"].history


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_every_optimiser_is_the_same_grouped(name: str) -> None:
    setting = Setting(optimizer=OptimizerConfig(name=name, lr=0.05), clip_norm=None)
    members = a_population(3)
    grouped = setting.train(members, GROUPED)
    for member in members:
        assert_same(setting.train([member])[member.name], grouped[member.name])


def test_a_run_repeats_bit_by_bit(setting: Setting, solo: dict[str, Trained]) -> None:
    torch.manual_seed(99)  # the global generator has no say
    again = setting.train([a_population(1)[0]])["m0"]
    assert again.history == solo["m0"].history
    for name, value in solo["m0"].state.items():
        assert torch.equal(again.state[name], value)


def test_seeds_differ_and_numbers_differ(setting: Setting) -> None:
    (member,) = a_population(1)
    other = Member(name="other", seed=member.seed + 1, hyper=member.hyper)
    results = setting.train([member, other], epochs=1)
    assert results["m0"].history != results["other"].history


@pytest.mark.parametrize("hardware", [ONE_BY_ONE, GROUPED], ids=["loop", "grouped"])
@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_diverged_member_leaves_and_the_others_go_on(hardware: Hardware, name: str) -> None:
    setting = Setting(optimizer=OptimizerConfig(name=name), clip_norm=None)
    members = a_population(4)
    bad = [
        Member(name="inf", seed=members[0].seed, hyper={**members[0].hyper, "lr": math.inf}),
        Member(name="huge", seed=5, hyper={**members[0].hyper, "lr": 1e200}),
    ]
    together = setting.train([members[0], bad[0], *members[1:3], bad[1], members[3]], hardware)
    for leaver in bad:
        gone = together[leaver.name]
        assert gone.status == "diverged"
        assert gone.reason is not None
        assert "loss is" in gone.reason
        assert f"epoch {len(gone.history)}" in gone.reason
        assert len(gone.history) < EPOCHS
        assert not gone.state
        assert gone.logits is None
    alone = setting.train(members, hardware)
    for member in members:
        assert_same(alone[member.name], together[member.name])


@pytest.mark.parametrize("hardware", [ONE_BY_ONE, GROUPED], ids=["loop", "grouped"])
def test_the_observer_drops_a_member(
    setting: Setting, solo: dict[str, Trained], hardware: Hardware
) -> None:
    observer = Quiet({"m1": "pruned", "m4": "pruned too"})
    results = setting.train(a_population(5), hardware, observer=observer)
    assert (results["m1"].status, results["m1"].reason) == ("dropped", "pruned")
    assert (results["m4"].status, results["m4"].reason) == ("dropped", "pruned too")
    assert len(results["m1"].history) == 1
    assert_same(solo["m0"], results["m0"])
    assert_same(solo["m3"], results["m3"])
    kept = {"m0", "m2", "m3"}
    assert observer.epochs == [(0, {*kept, "m1", "m4"}), (1, kept), (2, kept)]


class Greedy(Total):
    """A criterion that takes more memory than there is, late in an epoch."""

    def __init__(self, setting: Setting, limit: int) -> None:
        super().__init__(setting.losses, setting.labels, Config())
        self.limit = limit
        self.asked: list[int] = []

    def __call__(self, chunk: Chunk, *given: Any, **named: Any) -> Tensor:
        self.asked.append(chunk.size)
        if chunk.size > self.limit and len(self.asked) in (4, 6, 8):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().__call__(chunk, *given, **named)


def test_memory_that_ends_in_the_copy_before_an_epoch(
    setting: Setting, solo: dict[str, Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def greedy(population: Population) -> list[Tensor]:
        asked.append(len(population))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Population, "snapshot", greedy)
    results = setting.train(a_population(3), GROUPED)
    assert asked == [3, 3]  # in chunks of 3, of 2, and then there is no need to go back
    assert_same(solo["m0"], results["m0"])


def test_the_memory_of_members_that_left_is_given_back() -> None:
    setting = Setting(loss="crd", options={"dimensions": 4, "negatives": 5})
    criterion = Total(setting.losses, setting.labels, Config())
    leaving = Quiet({"m1": "pruned"})
    setting.train(a_population(3), observer=leaving, criterion=criterion)
    assert set(criterion.states) == {("m0",), ("m2",)}


class Timed(Total):
    """A criterion that remembers when it was asked."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting.losses, setting.labels, Config())
        self.epochs_asked: list[float] = []

    def __call__(self, *given: Any, epoch: float, **named: Any) -> Tensor:
        self.epochs_asked.append(epoch)
        return super().__call__(*given, epoch=epoch, **named)


def test_the_criterion_hears_of_fractions_of_an_epoch(setting: Setting) -> None:
    timed = Timed(setting)
    setting.train(a_population(1), criterion=timed, epochs=2)
    assert timed.epochs_asked == [0.0, 0.5, 1.0, 1.5]


def test_out_of_memory_splits_the_members_and_changes_nothing_else(
    setting: Setting, solo: dict[str, Trained]
) -> None:
    greedy = Greedy(setting, limit=3)
    results = setting.train(a_population(5), GROUPED, criterion=greedy)
    assert (greedy.asked[0], greedy.asked[-1]) == (5, 2)
    assert_same(solo["m0"], results["m0"])
    assert_same(solo["m3"], results["m3"])


def test_not_even_one_member_fits(setting: Setting) -> None:
    for hardware in (ONE_BY_ONE, GROUPED):
        with pytest.raises(TrainingError, match=r"lower train\.batch_size"):
            setting.train(a_population(1), hardware, criterion=Greedy(setting, limit=0))


def test_no_more_run_together_than_was_said(setting: Setting, solo: dict[str, Trained]) -> None:
    counter = Greedy(setting, limit=9)
    results = setting.train(a_population(5), GROUPED, criterion=counter, together=2)
    assert set(counter.asked) == {1, 2}
    assert_same(solo["m0"], results["m0"])


def test_a_member_leaves_after_the_last_epoch(setting: Setting) -> None:
    members = a_population(3)
    results = setting.train(members, GROUPED, observer=Quiet({"m0": "pruned"}), epochs=1)
    assert results["m0"].status == "dropped"
    for member in members[1:]:
        assert_same(setting.train([member], epochs=1)[member.name], results[member.name])


def test_no_member_is_left(setting: Setting) -> None:
    observer = Quiet({"m0": "a", "m1": "b"})
    results = setting.train(a_population(2), GROUPED, observer=observer)
    assert {result.status for result in results.values()} == {"dropped"}
    assert len(observer.epochs) == 1


def test_a_last_batch_of_one_image_is_left_out(setting: Setting) -> None:
    assert IMAGES % BATCH == 1
    observer = Quiet()
    setting.train(a_population(1), observer=observer)
    total = EPOCHS * (IMAGES // BATCH)
    assert observer.steps == [(step, total) for step in range(1, total + 1)]


def test_what_is_reported(setting: Setting, solo: dict[str, Trained]) -> None:
    trained = solo["m0"]
    assert set(trained.history[-1]) >= {"train_loss", "val_accuracy", "val_nll"}
    assert trained.logits is not None
    right = (trained.logits.argmax(-1) == setting.evaluation.labels).double().mean() * 100
    assert trained.history[-1]["val_accuracy"] == pytest.approx(float(right), abs=1e-5)
    nll = torch.nn.functional.cross_entropy(trained.logits, setting.evaluation.labels)
    assert trained.history[-1]["val_nll"] == pytest.approx(float(nll))
    assert all(p.dtype == torch.float64 for p in trained.state.values() if p.is_floating_point())
    assert trained.seconds > 0


def test_members_name_the_same_numbers(setting: Setting) -> None:
    one, other = a_population(2)
    short = {key: value for key, value in other.hyper.items() if key != "temperature"}
    with pytest.raises(AssertionError, match="the same numbers"):
        setting.population([one, dataclasses.replace(other, hyper=short)])


def test_learning_from_the_labels_lowers_the_loss() -> None:
    setting = Setting()
    member = Member(name="a", seed=0, hyper={"alpha": 0.0, "temperature": 1.0, "lr": 0.05})
    history = setting.train([member], epochs=12)["a"].history
    assert history[-1]["val_nll"] < 0.8 * history[0]["val_nll"]


def test_out_of_memory_while_judging_takes_smaller_batches(
    setting: Setting, solo: dict[str, Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def greedy(chunks: Any, evaluation: Any, hardware: Any, batch_size: int) -> Tensor:
        asked.append(batch_size)
        if batch_size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return predict(chunks, evaluation, hardware, batch_size)

    monkeypatch.setattr("kdsweep.train.loop.predict", greedy)
    results = setting.train(a_population(5), GROUPED)
    assert asked[:3] == [11, 6, 3]
    assert set(asked[3:]) == {2}
    assert_same(solo["m0"], results["m0"])


def test_not_even_one_image_can_be_judged(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(*given: Any) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("kdsweep.train.loop.predict", greedy)
    with pytest.raises(TrainingError, match="does not hold one image"):
        setting.train(a_population(1), GROUPED)
