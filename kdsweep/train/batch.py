"""One batch as the members see it: shared images and labels, picked for those that train."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from kdsweep.data import Views
from kdsweep.data.erase import erase
from kdsweep.data.mixup import mixup
from kdsweep.losses import Mixup
from kdsweep.losses.base import Outputs


@dataclass(frozen=True, kw_only=True)
class Blend:
    """Which image of the batch each one was mixed with [S, B], and the share it kept [S]."""

    partner: Tensor
    share: Tensor

    def of(self, labels: Tensor, place: Tensor | int, size: int) -> Mixup:
        """The partners' labels and shares of a chunk of ``size`` members."""
        others = labels.gather(1, self.partner)
        return Mixup(
            labels=at(others, place).expand(size, -1), share=at(self.share, place).expand(size)
        )


def beyond_views(
    views: Views, seeds: Tensor, index: Tensor, view: Tensor, epoch: int, number: int
) -> tuple[Tensor, Blend | None]:
    """The rendered views, erased and mixed where that was asked for."""
    images = views.render(index, view)
    if views.erase > 0:
        images = erase(images, seeds, epoch, index, probability=views.erase)
    if views.mixup == 0:
        return images, None
    images, partner, share = mixup(images, seeds, epoch, number, alpha=views.mixup)
    return images, Blend(partner=partner, share=share)


def places(seed_of: Tensor) -> Tensor | int:
    """Where a chunk's members find their seed's batch: one place where they all share it."""
    all_places = seed_of.tolist()
    return all_places[0] if len(set(all_places)) == 1 else seed_of


def at(shared: Tensor, place: Tensor | int) -> Tensor:
    """What a chunk's members see [n or 1, ...] of what is kept by seed [S, ...]."""
    return shared[place : place + 1] if isinstance(place, int) else shared[place]


def select(outputs: Outputs, place: Tensor | int) -> Outputs:
    """What a chunk's members hear of the teacher's outputs [S, ...]."""
    return Outputs(
        logits=at(outputs.logits, place),
        features={name: at(value, place) for name, value in outputs.features.items()},
    )
