# A loss on logits: plugins=[my_loss] distill=none distill.alpha=0.5 distill.losses.js.share=0.3

import kdsweep
from torch import Tensor, logaddexp
from torch.nn.functional import log_softmax


@kdsweep.register_loss("js", weight=1.0)
def jensen_shannon(
    student_logits: Tensor,  # [N, B, K]: N students that train together, B images, K classes
    teacher_logits: Tensor,  # [N, B, K]
    temperature: Tensor,  # [N]
    *,
    share=0.5,  # [N], of the student in the mixture: an option, since it has a default
) -> Tensor:
    """The Jensen-Shannon divergence between teacher and student, with a mixture to choose."""
    t, w = temperature[:, None, None], share[:, None, None]
    log_s, log_q = log_softmax(student_logits / t, -1), log_softmax(teacher_logits / t, -1)
    middle = logaddexp(log_s + w.log(), log_q + (1 - w).log())
    divergence = w * log_s.exp() * (log_s - middle) + (1 - w) * log_q.exp() * (log_q - middle)
    return temperature**2 * divergence.sum(-1).mean(-1)  # [N]: a mean over images, not members
