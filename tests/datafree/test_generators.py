from __future__ import annotations

import pytest
import torch

from kdsweep.config import GeneratorConfig
from kdsweep.datafree.generator import one_hot_loss
from kdsweep.datafree.generators import Generators
from kdsweep.hardware.choose import Hardware
from kdsweep.losses.logit_matching import logit_mae
from kdsweep.train.interfaces import Trained
from kdsweep.train.population import Member
from tests.train.setting import (
    BATCH,
    GROUPED,
    IMAGES,
    ONE_BY_ONE,
    SIZE,
    Setting,
    a_population,
    assert_same,
    teacher_network,
)

CONFIGS = {
    "dafl": GeneratorConfig(latent=6, lr=0.01),
    "adversarial": GeneratorConfig(latent=6, lr=0.01, objective="adversarial", student_steps=2),
}
each_objective = pytest.mark.parametrize("objective", CONFIGS)
ONE = Member(name="m", seed=3)


def generators(config: GeneratorConfig, clip_norm: float | None = None) -> Generators:
    return Generators(
        config,
        teacher_network(),
        ONE_BY_ONE,
        image_size=SIZE,
        count=IMAGES,
        batch_size=BATCH,
        clip_norm=clip_norm,
    )


def trained(
    objective: str,
    members: list[Member],
    hardware: Hardware = ONE_BY_ONE,
    setting: Setting | None = None,
) -> dict[str, Trained]:
    loss = "hinton" if objective == "dafl" else "logit_mae"
    setting = setting or Setting(loss=loss, clip_norm=None)
    return setting.train(members, hardware, source=generators(CONFIGS[objective]))


@each_objective
def test_a_member_is_the_same_alone_and_among_others(objective: str) -> None:
    members = a_population(3)
    assert members[0].seed == members[1].seed != members[2].seed
    together = trained(objective, members)
    fused = trained(objective, members, GROUPED)
    for member in members:
        alone = trained(objective, [member])[member.name]
        assert_same(together[member.name], alone)
        assert_same(fused[member.name], alone, tolerance=1e-6)


@each_objective
def test_real_images_and_labels_change_nothing(objective: str) -> None:
    loss = "hinton" if objective == "dafl" else "logit_mae"
    other = Setting(loss=loss, clip_norm=None)
    other.labels = torch.full_like(other.labels, 10**6)
    other.views = object()
    members = a_population(1)
    one, two = trained(objective, members), trained(objective, members, setting=other)
    assert_same(one["m0"], two["m0"], tolerance=0)


def test_dafls_norms_have_the_eps_of_its_code() -> None:
    for objective, eps in (("dafl", 0.8), ("adversarial", 1e-5)):
        made = generators(CONFIGS[objective]).learned(ONE)
        norms = [m.eps for m in made.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert norms == [1e-5, eps, eps, 1e-5]


def test_students_of_a_seed_share_dafls_generator_and_have_an_adversary_each() -> None:
    members = a_population(3)
    for objective, count in (("dafl", 2), ("adversarial", 3)):
        made = generators(CONFIGS[objective])
        Setting(clip_norm=None).train(members, source=made)
        assert len(made.learners) == count


def test_dafls_generator_makes_what_the_teacher_is_sure_of() -> None:
    made = generators(GeneratorConfig(latent=6, lr=0.01, one_hot=1.0, information_entropy=0.0))
    made.teacher.get_submodule("head").weight.mul_(20)
    losses = [float(one_hot_loss(made.teacher(made.make([ONE], 16, i)[0]))) for i in range(40)]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_an_adversary_finds_where_student_and_teacher_differ() -> None:
    made = generators(CONFIGS["adversarial"])
    (chunk,) = Setting(loss="logit_mae").population([ONE]).chunks(1, (3, SIZE, SIZE))

    def difference() -> float:
        images = made.make([ONE], 64, 1000)
        student, _ = chunk.forward(images, step=0, train=True)
        return float(logit_mae(student.logits, made.teacher(images[0])[None]).detach())

    before = difference()
    for step in range(100):
        made.after_step([chunk], 32, step)
    assert difference() > 1.1 * before


def test_an_adversary_learns_in_one_step_of_several() -> None:
    made = generators(CONFIGS["adversarial"])
    (chunk,) = Setting(loss="logit_mae").population([ONE]).chunks(1, (3, SIZE, SIZE))
    start = made.learned(ONE).state_dict()["start.weight"].clone()
    made.after_step([chunk], 8, 0)
    assert torch.equal(made.learned(ONE).state_dict()["start.weight"], start)
    made.after_step([chunk], 8, 1)
    assert not torch.equal(made.learned(ONE).state_dict()["start.weight"], start)


@each_objective
def test_noise_is_a_function_of_seed_step_and_place(objective: str) -> None:
    first = generators(CONFIGS[objective]).make([ONE], 8, 5)
    torch.manual_seed(1)
    assert torch.equal(first, generators(CONFIGS[objective]).make([ONE], 8, 5))
    assert not torch.equal(first, generators(CONFIGS[objective]).make([ONE], 8, 6))
    other = Member(name="m", seed=4)
    assert not torch.equal(first, generators(CONFIGS[objective]).make([other], 8, 5))


def test_a_snapshot_goes_back_in_time() -> None:
    made = generators(CONFIGS["dafl"])
    made.make([ONE], 8, 0)
    saved = made.snapshot()
    once = [made.make([ONE], 8, step) for step in (1, 2)]
    made.restore(saved)
    again = [made.make([ONE], 8, step) for step in (1, 2)]
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


def test_its_gradient_is_clipped() -> None:
    """Adam divides by the size of the gradient; only its eps sees that it was cut."""
    free, clipped = generators(CONFIGS["dafl"]), generators(CONFIGS["dafl"], clip_norm=1e-12)
    for made in (free, clipped):
        made.make([ONE], 8, 0)
    start = generators(CONFIGS["dafl"]).learned(ONE).state_dict()["start.weight"]
    moved = [
        float((made.learned(ONE).state_dict()["start.weight"] - start).abs().max())
        for made in (free, clipped)
    ]
    assert moved[1] < 0.01 * moved[0]
