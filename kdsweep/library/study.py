"""A study that has been swept, for a program or a notebook to look at and go on with."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from kdsweep.errors import UserError
from kdsweep.library.application import known_errors, prepare, settings_kept, shown

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console, ConsoleOptions, RenderResult

    from kdsweep.confirm.selection import Side
    from kdsweep.report.figure import Figure
    from kdsweep.results.cells import CellRecords
    from kdsweep.results.data import Cell, Sweep
    from kdsweep.sweeper.address import StudyAddress
    from kdsweep.verdict import Confirmation, Outcome


@dataclass(frozen=True, repr=False)
class Study:
    """A study as its records were when they were first asked for.

    In a notebook it shows its table and its verdict; ``print(study)`` does the same in text.
    """

    address: StudyAddress

    @property
    def name(self) -> str:
        """What ``kdsweep.load`` and the commands know it by."""
        return self.address.name

    @cached_property
    def records(self) -> tuple[CellRecords, ...]:
        """Of every cell the records of its rounds: seeds, metrics, curves, configuration."""
        from kdsweep.results.cells import cells_of, read_records
        from kdsweep.results.race import Race

        race = Race.find(self.address.folder)
        records = read_records(self.address.folder)
        cells = cells_of(records, None if race is None else race.keys)
        if not cells:
            raise UserError(
                f"study={self.name}: has no records in {self.address.folder}; root= names the "
                "folder of all output"
            )
        return tuple(cells)

    @cached_property
    def _judged(self) -> tuple[Sweep, Outcome | None]:
        from kdsweep.results.judgement import judge_sweep
        from kdsweep.results.summary import summarise

        return judge_sweep(
            summarise(self.name, self.records),
            self.records,
            self.address.folder,
            adaptive=self.address.adaptive,
        )

    @property
    def report(self) -> Sweep:
        """All that a report shows: cells, baseline, teachers, and the verdict in sentences."""
        return self._judged[0]

    @property
    def verdict(self) -> Outcome | None:
        """The verdicts of all cells, rows and columns, in the order of the race.

        None where there can be none, such as with one seed: ``report.verdict_lines`` says why.
        """
        return self._judged[1]

    @property
    def best(self) -> Cell | None:
        """The complete cell with the best mean, which is partly luck: ``confirm`` it."""
        from kdsweep.results.data import best_cell

        return best_cell(self.report)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row for each cell: what was swept, the objective over seeds, and the verdict."""
        from kdsweep.library.tables import cells_frame

        return cells_frame(self.report, self.records)

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of the pictures that there is the data for."""
        from kdsweep.report.figure import figures

        return tuple(figures(self.report))

    def figure(self, name: str) -> Figure:
        """A picture, which a notebook shows; ``save`` writes it as SVG, or its numbers as CSV.

        ``map`` is the difference from the baseline over two axes of numbers, ``forest`` each
        cell with its interval.

        Raises:
            UserError: there is no such picture, or this study has not the data for it.
        """
        from kdsweep.report.figure import figures

        known = figures(self.report)
        if name not in known:
            why = "; a map needs two axes of numbers" if name == "map" else ""
            raise UserError(f"figure={name}: allowed is one of {', '.join(known)}{why}")
        return known[name]

    def confirm(
        self,
        *,
        top: int = 3,
        side: Side = "best",
        seeds: int = 20,
        again: bool = False,
        quiet: bool = False,
    ) -> Confirmation:
        """Train the best cells and the baseline on fresh seeds, and open test, once.

        Args:
            top: how many cells.
            side: the best ones, the worst, or both.
            seeds: for each of them; the baseline gets more.
            again: confirm anew what has been confirmed.
            quiet: print nothing.

        Raises:
            UserError: a value out of its range, or it has been confirmed before.
            TrainingError: a cell could not be trained.
        """
        prepare()
        from kdsweep.confirm.confirmation import confirm_study
        from kdsweep.confirm.selection import count, side_of
        from kdsweep.sweeper.explain import naming

        at = self.address
        top, seeds = count("top", top, least=1), count("seeds", seeds, least=3)
        side = side_of(side)
        with shown(quiet=quiet), known_errors(), settings_kept(), naming(at.storage):
            return confirm_study(
                at.name, at.storage, root=at.root, top=top, side=side, seeds=seeds, again=again
            )

    def export(self, out: str | Path | None = None, *, quiet: bool = False) -> list[Path]:
        """Write the trials as CSV, Parquet and JSON, the study's database, and the best cell.

        Args:
            out: the folder; None: ``exports/NAME`` under the root.
            quiet: print nothing.

        Raises:
            UserError: the folder can't be written.
        """
        from kdsweep.export.study import export_study
        from kdsweep.sweeper.explain import naming

        at = self.address
        folder = at.root / "exports" / at.name if out is None else Path(out)
        with shown(quiet=quiet), known_errors(), settings_kept(), naming(at.storage):
            written = export_study(at.name, at.storage, root=at.root, out=folder)
            for path, what in written:
                print(f"{path}: {what}")
        return [path for path, _ in written]

    def package(
        self,
        out: str | Path | None = None,
        *,
        cell: int | str = "best",
        seed: int | str = "best",
        formats: str | Sequence[str] = ("safetensors", "onnx", "export"),
        register: str | None = None,
        quiet: bool = False,
    ) -> Path:
        """Write a trained student with its model card, to hand over.

        Args:
            out: the folder; None: ``packages/NAME`` under the root.
            cell: ``best``, a trial's number, or ``baseline``: the student without a teacher.
            seed: ``best`` on validation, ``median``, or a seed's number.
            formats: of the files; ``onnx`` needs the extra of that name.
            register: a name, to put it into MLflow's model registry too.
            quiet: print nothing.

        Returns:
            The folder.

        Raises:
            UserError: it can't be had as it was asked for; nothing was written.
            KdsweepError: a format can't be written, or does not answer as the network does.
        """
        from kdsweep.package.command import package_study

        at = self.address
        folder = at.root / "packages" / at.name if out is None else Path(out)
        with shown(quiet=quiet), known_errors(), settings_kept():
            package_study(
                at.name,
                root=at.root,
                out=folder,
                cell=str(cell),
                seed=str(seed),
                formats=formats if isinstance(formats, str) else ",".join(formats),
                register=register,
            )
        return folder

    def save_report(self, folder: str | Path) -> Path:
        """Write the report as one page with its pictures into a folder; the page's path."""
        from kdsweep.report.files import save_report
        from kdsweep.store import writable
        from kdsweep.sweeper.explain import naming
        from kdsweep.sweeper.reporting import follow_up
        from kdsweep.sweeper.search import search_figures

        at = self.address
        with known_errors(), naming(at.storage), writable(Path(folder)):
            return save_report(
                self.report,
                Path(folder),
                extras=search_figures(at.name, at.storage),
                commands=follow_up(
                    at.name, self.report, self.records, root=str(at.root), storage=at.storage
                ),
            )[0]

    def print(self) -> None:
        """Print the table and the verdict: styled on a terminal, as plain text elsewhere."""
        from kdsweep.report.table import print_sweep

        print_sweep(self.report)

    def __repr__(self) -> str:
        from rich.console import Console

        from kdsweep.report.table import print_sweep

        text = io.StringIO()
        print_sweep(
            self.report, console=Console(file=text, force_terminal=False, force_jupyter=False)
        )
        return text.getvalue().rstrip("\n")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from kdsweep.report.table import sweep_table

        yield sweep_table(self.report, width=options.max_width, plain=options.ascii_only)

    def _repr_html_(self) -> str:
        from kdsweep.report.html import render_table

        return render_table(self.report)
