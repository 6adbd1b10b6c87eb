from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kdsweep.evaluate import metrics
from kdsweep.evaluate.metrics import (
    agreement,
    classification_metrics,
    correct,
    fidelity_kl,
    per_class_accuracy,
    reliability,
)

N, IMAGES, K = 3, 200, 8


@pytest.fixture
def logits() -> Tensor:
    torch.manual_seed(0)
    return 2 * torch.randn(N, IMAGES, K, dtype=torch.float64)


@pytest.fixture
def labels() -> Tensor:
    torch.manual_seed(1)
    return torch.randint(K, (IMAGES,))


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    powers = [math.exp(x - top) for x in row]
    return [p / sum(powers) for p in powers]


def reference(rows: list[list[float]], labels: list[int]) -> dict[str, float]:
    """Every metric in plain Python, image by image, and ECE bin by bin."""
    n = len(rows)
    probabilities = [softmax(row) for row in rows]
    hits = [p.index(max(p)) == y for p, y in zip(probabilities, labels, strict=True)]
    order = [sorted(range(len(p)), key=lambda k: -p[k]) for p in probabilities]
    ece = 0.0
    for b in range(15):
        inside = [i for i in range(n) if b / 15 < max(probabilities[i]) <= (b + 1) / 15]
        if inside:
            accuracy = sum(hits[i] for i in inside) / len(inside)
            confidence = sum(max(probabilities[i]) for i in inside) / len(inside)
            ece += len(inside) / n * abs(accuracy - confidence)
    return {
        "accuracy": 100 * sum(hits) / n,
        "top5_accuracy": 100 * sum(y in o[:5] for o, y in zip(order, labels, strict=True)) / n,
        "nll": -sum(math.log(p[y]) for p, y in zip(probabilities, labels, strict=True)) / n,
        "ece": ece,
    }


def test_all_metrics_equal_a_plain_python_reference(logits: Tensor, labels: Tensor) -> None:
    got = classification_metrics(logits, labels)
    for member in range(N):
        expected = reference(logits[member].tolist(), labels.tolist())
        assert got.keys() == expected.keys()
        for name, value in expected.items():
            assert got[name][member].item() == pytest.approx(value, rel=1e-12), name


def test_ece_by_hand() -> None:
    # Two classes with confidences 0.9, 0.9, 0.6: right, wrong, right.
    # Bin (13/15, 14/15] holds the first two: |1/2 - 0.9|, bin (8/15, 9/15] the third: |1 - 0.6|.
    confidence = torch.tensor([0.9, 0.1, 0.6 - 1e-9], dtype=torch.float64)
    logits = torch.stack([confidence.log(), (1 - confidence).log()], 1)[None]
    labels = torch.tensor([0, 0, 0])
    expected = (2 * 0.4 + 1 * 0.4) / 3
    assert classification_metrics(logits, labels)["ece"].item() == pytest.approx(expected)


def test_ece_bins_are_closed_on_the_right() -> None:
    # Confidence 5/15 exactly, answered rightly, shares the bin (4/15, 5/15] with 0.3, a mistake.
    third = [0.0, 0.0, 0.0, -1e9]
    mistake = [math.log(p) for p in (0.3, 0.25, 0.25, 0.2)]
    logits = torch.tensor([[third, mistake]], dtype=torch.float64)
    ece = classification_metrics(logits, torch.tensor([0, 3]))["ece"]
    assert ece.item() == pytest.approx((2 / 3 - 0.3) / 2)


def test_perfect_uniform_and_one_wrong() -> None:
    labels = torch.arange(10)
    perfect = 1e4 * torch.eye(10)
    one_wrong = perfect.clone()
    one_wrong[9] = perfect[0]
    got = classification_metrics(torch.stack([perfect, torch.zeros(10, 10), one_wrong]), labels)
    assert got["accuracy"].tolist() == [100.0, 10.0, 90.0]
    assert got["top5_accuracy"].tolist() == [100.0, 50.0, 90.0]
    assert got["nll"].tolist() == pytest.approx([0.0, math.log(10), 1e3])
    assert got["ece"].tolist() == pytest.approx([0.0, 0.0, 0.1], abs=1e-7)


def test_accuracy_is_rounded_once() -> None:
    logits = torch.zeros(1, 1000, 2)
    labels = (torch.arange(1000) >= 727).long()
    assert classification_metrics(logits, labels)["accuracy"].item() == 72.7


def test_no_top5_with_five_classes(logits: Tensor) -> None:
    got = classification_metrics(logits[..., :5], torch.zeros(IMAGES, dtype=torch.int64))
    assert "top5_accuracy" not in got


def test_nan_is_never_right() -> None:
    logits = torch.zeros(2, 4, 6)
    logits[1] = math.nan
    got = classification_metrics(logits, torch.zeros(4, dtype=torch.int64))
    assert got["accuracy"].tolist() == [100.0, 0.0]
    assert got["top5_accuracy"].tolist() == [100.0, 0.0]
    assert got["nll"].isnan().tolist() == [False, True]
    assert got["ece"].isnan().tolist() == [False, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_logits_are_computed_in_float32(dtype: torch.dtype, labels: Tensor) -> None:
    torch.manual_seed(2)
    low = (2 * torch.randn(N, IMAGES, K)).to(dtype)
    got = classification_metrics(low, labels)
    for name, value in classification_metrics(low.double(), labels).items():
        assert got[name].dtype == torch.float64
        torch.testing.assert_close(got[name], value, rtol=1e-6, atol=1e-7)


def test_correct_is_argmax_with_the_first_of_equals(logits: Tensor, labels: Tensor) -> None:
    coarse = logits.round()  # many ties
    got = correct(coarse, labels)
    assert got.dtype == torch.bool
    assert got.tolist() == (coarse.argmax(2) == labels).tolist()
    assert 0 < got.sum() < got.numel()


def test_per_class_accuracy_by_hand() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    predicted = torch.tensor([[0, 0, 0, 1, 1, 1], [2, 2, 2, 2, 2, 1]])
    logits = torch.nn.functional.one_hot(predicted, 3).float()
    got = per_class_accuracy(logits, labels)
    assert got[:, :2].tolist() == [[75.0, 100.0], [0.0, 50.0]]
    assert got[:, 2].isnan().all()  # no image of the third class


def test_agreement_by_hand() -> None:
    teacher = torch.eye(4)
    student = torch.stack([torch.eye(4), torch.eye(4).roll(1, 0), torch.eye(4)[[0, 1, 2, 0]]])
    assert agreement(student, teacher).tolist() == [100.0, 0.0, 75.0]


def test_fidelity_is_the_divergence_in_its_direction(logits: Tensor) -> None:
    teacher, student = logits[0], logits[1:]
    expected = []
    for member in student:
        total = 0.0
        for t, s in zip(teacher.tolist(), member.tolist(), strict=True):
            pairs = zip(softmax(t), softmax(s), strict=True)
            total += sum(p * math.log(p / q) for p, q in pairs)
        expected.append(total / IMAGES)
    assert fidelity_kl(student, teacher).tolist() == pytest.approx(expected, rel=1e-12)
    assert fidelity_kl(logits[:1], teacher).tolist() == [0.0]


def test_chunks_of_members_change_nothing(
    logits: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = logits[0]
    whole = [*classification_metrics(logits, labels).values(), fidelity_kl(logits, teacher)]
    for chunk in (1, 2 * IMAGES * K):
        monkeypatch.setattr(metrics, "_CHUNK", chunk)
        parts = [*classification_metrics(logits, labels).values(), fidelity_kl(logits, teacher)]
        for got, expected in zip(parts, whole, strict=True):
            assert torch.equal(got, expected)


def test_no_value_is_read_back_to_the_host(logits: Tensor, labels: Tensor) -> None:
    with torch.device("meta"):  # a tensor without values: reading one raises
        empty = torch.empty(N, IMAGES, K)
        names = torch.empty(IMAGES, dtype=torch.int64)
    for value in (
        *classification_metrics(empty, names).values(),
        agreement(empty, empty[0]),
        fidelity_kl(empty, empty[0]),
    ):
        assert value.shape == (N,)
    assert per_class_accuracy(empty, names).shape == (N, K)
    assert correct(empty, names).shape == (N, IMAGES)


def test_reliability_by_hand() -> None:
    # Confidences 0.9, 0.92: right, wrong, in the bin (13/15, 14/15]; 0.6: right, in (8/15, 9/15].
    confidence = torch.tensor([0.9, 0.92, 0.6 - 1e-9], dtype=torch.float64)
    logits = torch.stack([confidence.log(), (1 - confidence).log()], 1)
    low, high = reliability(logits, torch.tensor([0, 1, 0]))
    assert low == (8, 1, pytest.approx(60), 100.0)
    assert high == (13, 2, pytest.approx(91), 50.0)


def test_the_gaps_of_reliability_are_the_calibration_error(logits: Tensor, labels: Tensor) -> None:
    bins = reliability(logits[0], labels)
    gaps = sum(n * abs(sure - right) for _, n, sure, right in bins) / 100 / len(labels)
    assert gaps == pytest.approx(classification_metrics(logits, labels)["ece"][0].item())
    assert sum(n for _, n, _, _ in bins) == len(labels)
