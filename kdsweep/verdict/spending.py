"""How a cell's error is spent over the rounds of a race.

A statistic that is looked at in R rounds is a random walk seen at information fractions
t_1 < ... < t_R = 1. Hwang, Shih & DeCani (1990, Stat. Med. 9:1439) spend of an error e, up to t,

    e (1 - exp(-gamma t)) / (1 - exp(-gamma)),

little at first for gamma < 0. The boundary that spends it is found round by round, by numerical
integration over the walks still inside (Armitage, McPherson & Rowe 1969, JRSS A 132:235; Jennison
& Turnbull 2000, chapter 19). It is given as the two-sided normal p of each round, which a t
statistic of any degrees of freedom can be held against (Pocock 1977, Biometrika 64:191).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GAMMA = -1.0
_NODES = 96  # of the integral over the walks still inside


def spent(error: float, fractions: Sequence[float], gamma: float = GAMMA) -> list[float]:
    """Error spent up to each information fraction; all of it at 1."""
    whole = -math.expm1(-gamma)
    return [error * -math.expm1(-gamma * t) / whole for t in fractions]


def round_levels(
    error: float, fractions: Sequence[float], gamma: float = GAMMA
) -> tuple[float, ...]:
    """Two-sided p of each round, such that |z| beyond any of them has probability ``error``.

    Args:
        error: of one cell over all rounds.
        fractions: information by the end of each round, rising to 1.
        gamma: of the spending.
    """
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri

    unit, unit_weight = np.polynomial.legendre.leggauss(_NODES)
    walk, density = np.zeros(1), np.ones(1)  # the walk starts at 0; density carries the weights
    levels: list[float] = []
    before, earlier = 0.0, 0.0
    for t, total in zip(fractions, spent(error, fractions, gamma), strict=True):
        step = math.sqrt(t - earlier)
        highest = math.sqrt(t) * -float(ndtri(0.25 * (total - before))) + 1.0
        passed = (walk, density, step, total - before)
        limit = float(brentq(_excess, 0.0, highest, args=passed, xtol=1e-12))
        levels.append(2.0 * float(ndtr(-limit / math.sqrt(t))))
        there = limit * unit
        kernel = np.exp(-0.5 * ((there[:, None] - walk) / step) ** 2)
        density = (kernel @ density) * limit * unit_weight / (step * math.sqrt(2.0 * math.pi))
        walk, before, earlier = there, total, t
    return tuple(levels)


def _excess(limit: float, walk: Array, density: Array, step: float, target: float) -> float:
    """How much more than ``target`` of the walks is beyond +-limit after a step."""
    from scipy.special import ndtr

    beyond = ndtr((-limit - walk) / step) + ndtr((walk - limit) / step)
    return float(density @ beyond) - target
