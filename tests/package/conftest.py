from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Command, Ended
from tests.package.made import MadeStudy
from tests.package.pictures import save_odd_pictures


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> MadeStudy:
    """A study that was not confirmed. No test changes it."""
    return MadeStudy(tmp_path_factory.mktemp("made") / "mlruns")


@pytest.fixture(scope="session")
def packaged(study: MadeStudy, command: Command) -> Ended:
    """How the real command packaged it, once, in every format."""
    return command("study=s", cwd=study.root.parent, module="kdsweep.package")


@pytest.fixture(scope="session")
def package(study: MadeStudy, packaged: Ended) -> Path:
    """Its folder."""
    assert (packaged.status, packaged.err) == (0, "")
    return study.root / "packages" / "s"


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Pictures in which reading them wrongly shows: turned, wide, high, deep, with a palette."""
    return save_odd_pictures(tmp_path)
