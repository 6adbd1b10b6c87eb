"""All of kdsweep's own models, by name: counts, shapes, stages, fusing; and the errors."""

import functools

import pytest
import torch
from torch import nn

from kdsweep.errors import UserError
from kdsweep.models import ImageClassifier, layer_names, load_weights, model_names
from tests.models.helpers import embedding, fold, make, parameters, tap

# At 10 and at 100 classes. The first pair at 10 is that of the published system; all others are
# the counts of the networks of "Contrastive Representation Distillation" (Tian et al. 2020).
COUNTS = {
    "cifar_teacher": (4_664_970, 4_711_140),
    "cifar_student": (106_826, 112_676),
    "resnet8": (78_042, 83_892),
    "resnet20": (272_474, 278_324),
    "resnet32": (466_906, 472_756),
    "resnet56": (855_770, 861_620),
    "resnet110": (1_730_714, 1_736_564),
    "resnet8x4": (1_210_410, 1_233_540),
    "resnet32x4": (7_410_730, 7_433_860),
    "wrn_16_1": (175_066, 180_916),
    "wrn_16_2": (691_674, 703_284),
    "wrn_40_2": (2_243_546, 2_255_156),
    "vgg8": (3_918_858, 3_965_028),
    "vgg13": (9_416_010, 9_462_180),
    "mobilenetv2": (697_546, 812_836),
    "shufflenetv2": (1_263_278, 1_355_528),
}
# In millions as papers print them: He et al. 2016, table 6 (shortcuts without parameters), and
# Zagoruyko and Komodakis 2016/2017 (wide networks, attention transfer); CIFAR-10.
PUBLISHED_CIFAR10 = {
    "resnet20": 0.27,
    "resnet32": 0.46,
    "resnet56": 0.85,
    "resnet110": 1.7,
    "wrn_16_1": 0.2,
    "wrn_16_2": 0.7,
    "wrn_40_2": 2.2,
}
NAMES = list(COUNTS)
FAMILIES = [
    "cifar_teacher", "cifar_student", "resnet8", "wrn_16_1", "vgg8", "mobilenetv2", "shufflenetv2"
]  # fmt: skip


@functools.cache
def cached(name: str) -> ImageClassifier:
    """One evaluation-mode model for all tests that leave it as it is."""
    torch.manual_seed(0)
    return make(name).eval()


def images(batch: int = 2, size: int = 32) -> torch.Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_the_table_holds_all_models():
    assert set(model_names()) == set(COUNTS)


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts(name):
    ten, hundred = COUNTS[name]
    features = cached(name).get_submodule(cached(name).classifier).in_features
    assert parameters(cached(name)) == ten
    assert ten + 90 * (features + 1) == hundred
    assert parameters(make(name, classes=100)) == hundred


@pytest.mark.parametrize(("name", "millions"), PUBLISHED_CIFAR10.items())
def test_counts_are_those_that_papers_print(name, millions):
    assert COUNTS[name][0] / 1e6 == pytest.approx(millions, rel=0.13 if millions == 0.2 else 0.025)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("size", "classes"), [(16, 3), (33, 100)])
def test_forward_at_other_sizes_and_class_counts(name, size, classes):
    model = make(name, classes=classes, image_size=size).eval()
    with torch.no_grad():
        logits = model(images(2, size))
    assert logits.shape == (2, classes)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_stages_come_in_order_of_depth_and_are_maps(name):
    model = cached(name)
    seen = tap(model, [*reversed(model.stages), model.classifier], images())
    assert list(seen) == [*model.stages, model.classifier]
    maps = [seen[stage][0] for stage in model.stages]
    assert all(stage_map.ndim == 4 for stage_map in maps)
    sides = [stage_map.shape[-1] for stage_map in maps]
    channels = [stage_map.shape[1] for stage_map in maps]
    assert sides == sorted(sides, reverse=True)
    assert channels == sorted(channels)


@pytest.mark.parametrize("name", NAMES)
def test_the_classifier_maps_the_embedding_to_the_logits(name):
    model = cached(name)
    linear = model.get_submodule(model.classifier)
    assert isinstance(linear, nn.Linear)
    features = embedding(model, images())
    assert features.shape == (2, linear.in_features)
    with torch.no_grad():
        torch.testing.assert_close(linear(features), model(images()))


@pytest.mark.parametrize("name", FAMILIES)
def test_no_layer_writes_over_what_another_put_out(name):
    model = cached(name)
    for layer, (output, copy) in tap(model, layer_names(model), images()).items():
        assert torch.equal(output, copy), layer


@pytest.mark.parametrize("name", FAMILIES)
def test_every_parameter_is_trained(name):
    model = make(name, image_size=16)
    model(images(4, 16)).square().sum().backward()
    assert [key for key, value in model.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize("name", FAMILIES)
def test_initialisation_follows_the_global_generator(name):
    torch.manual_seed(3)
    first = make(name).state_dict()
    torch.manual_seed(3)
    again = make(name).state_dict()
    torch.manual_seed(4)
    other = make(name).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    classifier = f"{cached(name).classifier}.weight"
    assert not torch.equal(first[classifier], other[classifier])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_state_dict_makes_another_model_the_same(name, tmp_path):
    torch.save(cached(name).state_dict(), tmp_path / "weights.pt")
    copy = make(name, weights=str(tmp_path / "weights.pt")).eval()
    with torch.no_grad():
        assert torch.equal(copy(images()), cached(name)(images()))


def fold_error(name: str, **options) -> float:
    """The largest difference between members on their own and folded into one network."""
    members = [make(name, classes=5, image_size=16, **options).double() for _ in range(2)]
    for member in members:
        for module in member.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    batches = [torch.randn(3, 3, 16, 16, dtype=torch.float64) for _ in members]
    with torch.no_grad():
        apart = torch.cat([m(batch) for m, batch in zip(members, batches, strict=True)], dim=1)
        together = fold(members)(torch.cat(batches, dim=1))
    return float((apart - together).abs().max())


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1", "vgg8", "mobilenetv2"])
def test_members_fold_into_the_channels(name):
    assert fold_error(name) < 1e-9


@pytest.mark.parametrize("name", ["cifar_teacher", "cifar_student"])
def test_members_of_the_pair_fold_into_the_channels(name):
    assert fold_error(name, width=0.25) < 1e-9


def test_members_of_shufflenet_do_not_fold():
    assert fold_error("shufflenetv2") > 1e-3


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet21", "resnet20"),
        ("ResNet56", "did you mean resnet56"),
        ("resnet50", "did you mean torchvision/resnet50 or resnet"),
        ("wrn-40-2", "did you mean wrn_40_2"),
        ("xyz", "no such model; one of: cifar_teacher, cifar_student, resnet8, "),
        ("torchvision", "no such model; one of: "),
        ("hub/resnet18", "no such model; did you mean "),
    ],
)
def test_unknown_names_are_told_of_near_ones(name, hint):
    with pytest.raises(UserError) as error:
        make(name)
    message = str(error.value)
    assert message.startswith(f"pair.student.name={name}: no such model; ")
    assert hint in message
    assert "one of: cifar_teacher" in message
    assert "torchvision/<name> or timm/<name>" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["resnet20", "vgg8", "torchvision/resnet18", "timm/resnet18"])
def test_width_is_refused_where_there_is_none(name):
    with pytest.raises(UserError) as error:
        make(name, width=1.5)
    assert str(error.value) == (
        f"pair.student.width=1.5: allowed is 1, since {name} has no width; "
        "those that have one are cifar_teacher, cifar_student"
    )


def test_errors_name_the_weights_as_the_user_did():
    with pytest.raises(UserError, match=r"^pair\.student\.weights=nowhere\.pt: no such file$"):
        make("resnet8", weights="nowhere.pt")


def test_weights_of_the_same_model_load_in_place(tmp_path):
    torch.save(cached("resnet8").state_dict(), tmp_path / "weights.pt")
    model = make("resnet8")
    load_weights(model, str(tmp_path / "weights.pt"), option="teacher.checkpoint")
    assert torch.equal(model.fc.weight, cached("resnet8").fc.weight)
