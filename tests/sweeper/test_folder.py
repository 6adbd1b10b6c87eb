from __future__ import annotations

from pathlib import Path

import pytest

from kdsweep.errors import TrainingError, UserError
from kdsweep.sweeper.folder import folder_of_study


@pytest.mark.parametrize("error", [UserError("no"), TrainingError("no")])
def test_only_a_refusal_takes_back_what_it_has_made(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)), folder_of_study(tmp_path / "a" / "b", "s"):
        raise error
    assert (tmp_path / "a" / "b").exists() == isinstance(error, TrainingError)
    assert (tmp_path / "a").exists() == isinstance(error, TrainingError)
    assert tmp_path.exists()


def test_what_was_there_before_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError), folder_of_study(tmp_path / "a", "s"):
        raise UserError("no")
    assert (tmp_path / "a").exists()


def test_what_another_process_has_written_meanwhile_stays(tmp_path: Path) -> None:
    def refuse_late() -> None:
        with folder_of_study(tmp_path / "a", "s"):
            (tmp_path / "a" / "file").touch()
            raise UserError("no")

    with pytest.raises(UserError):
        refuse_late()
    assert (tmp_path / "a" / "file").exists()


def test_a_folder_is_of_one_study(tmp_path: Path) -> None:
    with folder_of_study(tmp_path, "s"):
        pass  # refused before it was kept
    for _ in range(2):
        with folder_of_study(tmp_path, "t") as keep:
            keep()
    with (
        pytest.raises(UserError, match=r"^hydra.sweep.dir=.*: holds study t, and the trials of "),
        folder_of_study(tmp_path, "s"),
    ):
        raise AssertionError


def test_of_two_studies_that_begin_at_once_one_is_refused(tmp_path: Path) -> None:
    with folder_of_study(tmp_path, "s") as keep, folder_of_study(tmp_path, "t") as too:
        keep()
        with pytest.raises(UserError, match="holds study s"):
            too()
