"""The command line: Hydra's options and arguments, and every error in one line."""

from __future__ import annotations

import sys

import kdsweep
from kdsweep.library.application import CONFIG, WHITELIST, prepare, task
from kdsweep.library.help import explain_groups, read
from kdsweep.sweeper.explain import explain
from kdsweep.terminal.command import OneLine

VERSIONS = ("kdsweep", "hydra-core", "optuna", "mlflow", "torch")


def main() -> None:
    """Run the command line and leave with its exit status."""
    if "--version" in sys.argv[1:]:
        print(versions())
        return
    with OneLine(explain):
        if {"-h", "--help"} & set(sys.argv[1:]):
            asked = read(sys.argv[1:])
            if asked.groups:
                print(explain_groups(asked))
                return
        _hydra_main()


def versions() -> str:
    """The versions of kdsweep and of what its results depend on, a line each."""
    from importlib.metadata import version

    others = [f"{name} {version(name)}" for name in VERSIONS[1:]]
    return "\n".join([f"{VERSIONS[0]} {kdsweep.__version__}", *others])


def _hydra_main() -> None:
    import hydra

    from kdsweep.config.paths import conf_dir

    prepare()
    wrapped = hydra.main(
        config_path=str(conf_dir()), config_name=CONFIG, execution_whitelist=WHITELIST
    )
    wrapped(task)()
