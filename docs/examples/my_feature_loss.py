# A loss on features: plugins=[my_feature_loss] distill=none distill.losses.gram.power=2 ...

from collections.abc import Mapping

from kdsweep import losses, register_loss
from torch import Tensor, nn
from torch.nn.functional import normalize


@register_loss("gram", weight=10.0)
class Gram(losses.FeatureLoss):
    """Cosines between the images of a batch; by default of what goes into the classifiers."""

    options = {**losses.TAPS, "power": losses.Number(1.0, positive=True)}

    def adapters(self, student: losses.Shapes, teacher: losses.Shapes) -> nn.ModuleDict:
        """What learns with each student: here a linear layer behind its first tap."""
        tap = self.student_taps[0]
        width = student[tap][0]  # the feature's shape is [D] or [C, H, W]
        layer = nn.Linear(width, width) if len(student[tap]) == 1 else nn.Conv2d(width, width, 1)
        return nn.ModuleDict({losses.adapter_key("student", tap): layer})

    def compute(self, batch: losses.Batch, h: Mapping[str, Tensor]) -> Tensor:
        power, total = h["power"][:, None, None], 0.0
        for pair in self.features(batch):  # of features [N, B, ...], behind their adapters
            s, t = (normalize(feature.flatten(2), dim=-1) for feature in pair)
            apart = (s @ s.transpose(-2, -1) - t @ t.transpose(-2, -1)).abs() + 1e-6
            total = total + apart.pow(power).mean((-2, -1))
        return total  # [N]
