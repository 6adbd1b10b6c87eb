"""``python -m kdsweep.report`` on a study that was swept before."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdsweep.errors import UserError
from kdsweep.report.__main__ import main
from tests.sweeper.fake import baseline, studying


def test_a_report_once_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def train(point: dict[str, str]) -> float:
        return baseline(0) + float(point["distill.temperature"])

    with studying(tmp_path) as study:
        study.sweep(train, "distill.temperature=1,2", "study=made")
    swept = capsys.readouterr().out
    main(["study=made", f"root={tmp_path}"])
    printed, _, page = capsys.readouterr().out.rstrip("\n").rpartition("\n\nReport: ")
    for paragraph in printed.strip().split("\n\n"):
        assert paragraph in swept
    assert "temperature=2 *" in printed
    assert Path(page) == tmp_path / "reports" / "made" / "report.html"
    assert "made" in Path(page).read_text()


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ([], "study=: name the study"),
        (["stdy=made"], "did you mean study="),
        (["study=made"], "no such database"),
    ],
)
def test_refusals(tmp_path: Path, given: list[str], line: str) -> None:
    with pytest.raises(UserError, match=line):
        main([*given, f"root={tmp_path}"])
