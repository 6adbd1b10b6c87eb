"""What the command and ``Study.package`` do: choose, write, and register where that is asked."""

from __future__ import annotations

from pathlib import Path

from kdsweep.errors import UserError
from kdsweep.package.build import prepare, write_package
from kdsweep.package.choice import BEST
from kdsweep.package.formats import FORMATS, formats_of

ALL = ",".join(FORMATS)


def package_study(
    name: str,
    *,
    root: Path,
    out: Path,
    cell: str = BEST,
    seed: str = BEST,
    formats: str = ALL,
    register: str | None = None,
    uri: str | None = None,
) -> None:
    """Package a study's student, and print what is in it and why.

    Args:
        name: the study's.
        root: the folder of all output.
        out: the package's folder.
        cell: ``best``, ``baseline``, or a trial's number.
        seed: ``best``, ``median``, or a seed's number.
        formats: with commas between them.
        register: the name in MLflow's model registry; None: it is not put there.
        uri: MLflow's address, where it is not the study's own.

    Raises:
        UserError: it can't be had as it was asked for; nothing was written.
        KdsweepError: a format can't be written, or does not answer as the network does.
    """
    if register is not None:
        from kdsweep.tracking.registry import check_name

        check_name(register)
        if "onnx" not in formats.split(","):
            raise UserError(
                f"register={register} formats={formats}: what is served is onnx; add it"
            )
    wanted = formats_of(formats)
    prepared = prepare(name, root=root, cell=cell, seed=seed)
    if register is None:
        write_package(prepared, out, wanted)
        return
    from kdsweep.package.registration import register_package, registry_of_study

    store = registry_of_study(prepared, uri)  # before anything is written
    write_package(prepared, out, wanted)
    register_package(prepared, out, register, store)
