"""Where a loss keeps its learnable parts, and how features go through them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn


def adapter_key(side: str, tap: str | None = None) -> str:
    """Where ``adapters()`` keeps the module of a tap, or of all taps of a side.

    Args:
        side: student or teacher.
        tap: the module takes that feature; None: a list of all of them, in the order of the
            taps, and gives as many.
    """
    return side if tap is None else f"{side}/{tap.replace('.', '/')}"  # names can't hold dots


def adapted(
    adapters: nn.ModuleDict, side: str, taps: Sequence[str], features: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """A loss's features, by tap, behind its adapters; as they are where there is none."""
    whole = adapter_key(side)
    if whole in adapters:
        return dict(zip(taps, adapters[whole]([features[tap] for tap in taps]), strict=True))
    keys = {tap: adapter_key(side, tap) for tap in taps}
    return {
        tap: adapters[key](features[tap]) if key in adapters else features[tap]
        for tap, key in keys.items()
    }
