"""Data-free distillation: a generator of images, and what it loses against the teacher.

Sources: Chen et al. 2019, Data-Free Learning of Student Networks (DAFL); Fang et al. 2019,
Data-Free Adversarial Distillation (DFAD).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from kdsweep.losses.base import at_least_float32

_WIDTH = 128  # channels of the generator's first maps; half as many later
DAFL_EPS = 0.8  # as in DAFL's code, where 0.8 stands in the place of eps


class Generator(nn.Module):
    """Noise [B, latent] to normalised images [B, 3, size, size]: DAFL's (its section 4.1).

    Each channel of a batch of images has mean 0 and variance 1, as normalised images have.

    Args:
        latent: numbers of noise that become an image.
        size: of an image, in pixels.
        eps: of the batch norms behind the two convolutions; DFAD's code has the usual one.
    """

    def __init__(self, latent: int, size: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        assert size % 4 == 0
        self.start = nn.Linear(latent, _WIDTH * (size // 4) ** 2)
        self.maps = nn.Sequential(
            nn.Unflatten(1, (_WIDTH, size // 4, size // 4)),
            nn.BatchNorm2d(_WIDTH),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1),
            nn.BatchNorm2d(_WIDTH, eps=eps),
            nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(_WIDTH, _WIDTH // 2, 3, padding=1),
            nn.BatchNorm2d(_WIDTH // 2, eps=eps),
            nn.LeakyReLU(0.2),
            nn.Conv2d(_WIDTH // 2, 3, 3, padding=1),
            nn.Tanh(),
            nn.BatchNorm2d(3, affine=False),
        )

    def forward(self, noise: Tensor) -> Tensor:
        """Images [B, 3, size, size]."""
        images: Tensor = self.maps(self.start(noise))
        return images


def one_hot_loss(logits: Tensor) -> Tensor:
    """Cross-entropy of teacher's logits [*, B, K] with their own argmax -> [*], in nats.

    Source: DAFL, equation 2.
    """
    return -F.log_softmax(logits, -1).amax(-1).mean(-1)


def information_entropy_loss(logits: Tensor) -> Tensor:
    """Sum of pbar log10 pbar, pbar the batch's mean probabilities: [*, B, K] -> [*].

    It is -log10 K where a batch has all classes alike, and 0 where it has one. The published
    weights go with decimal logarithms: natural ones make the term ln 10 = 2.3 times as large.

    Source: DAFL, equation 4, and its code (DAFL-train.py).
    """
    mean = F.softmax(logits, -1).mean(-2)
    return (mean * mean.clamp_min(1e-30).log10()).sum(-1)


def activation_loss(features: Tensor) -> Tensor:
    """-mean |f| of the teacher's embedding: [*, B, F] -> [*].

    Source: DAFL, equation 3.
    """
    return -features.abs().mean((-2, -1))


def dafl_loss(
    logits: Tensor,
    features: Tensor,
    *,
    one_hot: float,
    information_entropy: float,
    activation: float,
) -> Tensor:
    """What DAFL's generator loses: logits [*, B, K] and embeddings [*, B, F] -> [*].

    Source: DAFL, equation 5.
    """
    logits = at_least_float32(logits)
    return (
        one_hot * one_hot_loss(logits)
        + information_entropy * information_entropy_loss(logits)
        + activation * activation_loss(at_least_float32(features))
    )
