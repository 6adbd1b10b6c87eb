from __future__ import annotations

import gc
import weakref
from pathlib import Path

from kdsweep.config import Config, DataConfig, TrainConfig
from kdsweep.data.device import load_device_dataset
from kdsweep.hardware.choose import choose_hardware


def test_a_dataset_is_loaded_once_and_for_as_long_as_it_is_held(tmp_path: Path) -> None:
    train = TrainConfig(device="cpu", threads=1)
    config = Config(data=DataConfig(train_limit=20), train=train, root=str(tmp_path))
    hardware = choose_hardware(train)
    held = load_device_dataset(config, hardware)
    assert load_device_dataset(config, hardware) is held
    gone = weakref.ref(held)
    del held
    gc.collect()
    assert gone() is None
