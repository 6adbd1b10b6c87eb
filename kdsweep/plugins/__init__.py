"""Modules of a user's own, which add models, losses and datasets by being imported.

A plugin is named by ``plugins=``: a file or a package beside the configuration or in the working
directory, or a module that Python finds; installed packages announce others as entry points of
the group ``kdsweep.plugins``. Each is imported once in a process. Its source is known by a hash,
which stands behind its name in the typed configuration (``{my_loss.py: 1f0c...}``), and so in
records, in studies and in what other processes are sent: they find it unchanged, or fail.
"""

from kdsweep.plugins.imported import (
    load,
    load_installed,
    refuse_interactive,
    source_of,
    used,
)

__all__ = ["load", "load_installed", "refuse_interactive", "source_of", "used"]
