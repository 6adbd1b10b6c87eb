"""The command line: Hydra's options and arguments, and every error in one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

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


def trains(arguments: Sequence[str]) -> bool:
    """Whether arguments ask for a training, not for something to read."""
    reading = ("-h", "-c", "-i", "-p", "--help", "--hydra-help", "--cfg", "--info", "--package")
    completion = ("-sc", "--shell-completion", "--shell_completion", "--resolve")
    keys = [one.partition("=")[0] for one in arguments]
    return not any(key in (*reading, *completion) for key in keys)


def _hydra_main() -> None:
    import hydra

    from kdsweep.config.paths import conf_dir

    prepare()
    if trains(sys.argv[1:]):  # what follows imports for seconds
        print(f"kdsweep {kdsweep.__version__}: loads PyTorch, Optuna and MLflow", flush=True)
    wrapped = hydra.main(
        config_path=str(conf_dir()), config_name=CONFIG, execution_whitelist=WHITELIST
    )
    wrapped(task)()
