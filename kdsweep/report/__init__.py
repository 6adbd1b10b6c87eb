"""Reports: a sweep as plain data, and that data as a table, as pictures and as one page."""

from kdsweep.report.html import render_html, save_report
from kdsweep.report.pictures import save_pictures
from kdsweep.report.table import print_sweep, sweep_table
from kdsweep.results.data import Cell, CellVerdict, Model, Sweep

__all__ = [
    "Cell",
    "CellVerdict",
    "Model",
    "Sweep",
    "print_sweep",
    "render_html",
    "save_pictures",
    "save_report",
    "sweep_table",
]
