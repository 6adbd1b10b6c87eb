"""The typed configuration: made once, at the edge, from what Hydra composed.

Every range and cross-field rule is checked in ``__post_init__`` and raises ``UserError`` with
the key as the user writes it, what was given and what is allowed.
"""

from kdsweep.config.data import DataConfig, ViewsConfig
from kdsweep.config.distill import DistillConfig, GeneratorConfig, InversionConfig
from kdsweep.config.engine import EngineConfig
from kdsweep.config.models import ModelConfig, PairConfig, TeacherConfig
from kdsweep.config.study import OBJECTIVES, Config, EvaluateConfig, PrunerConfig, TrackingConfig
from kdsweep.config.train import OptimizerConfig, ScheduleConfig, TrainConfig
from kdsweep.config.verdict import VerdictConfig

__all__ = [
    "OBJECTIVES",
    "Config",
    "DataConfig",
    "DistillConfig",
    "EngineConfig",
    "EvaluateConfig",
    "GeneratorConfig",
    "InversionConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PairConfig",
    "PrunerConfig",
    "ScheduleConfig",
    "TeacherConfig",
    "TrackingConfig",
    "TrainConfig",
    "VerdictConfig",
    "ViewsConfig",
]
