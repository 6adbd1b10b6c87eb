from __future__ import annotations

from pathlib import Path

import pytest

from kdsweep.config import Config, DataConfig, TrainConfig
from kdsweep.data.device import load_device_dataset
from kdsweep.errors import UserError
from kdsweep.hardware.choose import choose_hardware


def test_a_batch_is_no_larger_than_the_data(tmp_path: Path) -> None:
    def load(batch_size: int) -> int:
        train = TrainConfig(device="cpu", threads=1, batch_size=batch_size)
        data = DataConfig(name="digits", train_limit=100)
        config = Config(data=data, train=train, root=str(tmp_path))
        return len(load_device_dataset(config, choose_hardware(train)).labels)

    assert load(100) == 100
    with pytest.raises(UserError, match=r"^train.batch_size=101: allowed is 2 to 100, the number"):
        load(101)
