"""Bad input over all commands, groups and keys: one line that helps, status 2, no trace left.

The commands run in this process: a process for each would take minutes to import torch.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
import torch

from kdsweep import cli
from kdsweep.confirm.__main__ import USAGE as CONFIRM_USAGE
from kdsweep.confirm.__main__ import main as confirm
from kdsweep.export.__main__ import USAGE as EXPORT_USAGE
from kdsweep.export.__main__ import main as export
from kdsweep.sweeper.explain import explain
from kdsweep.terminal import command
from tests.conftest import Command, Ended

SMOKE = ("experiment=smoke", "train.threads=1")
GRID = "distill.temperature=1,2"

# What is asked for after experiment=smoke, and what the line says of it.
SINGLE = {
    "distill.temperature=1e300": r"distill\.temperature=1e\+300: allowed is 0\.001 to 1,000",
    "distill.temperature=-1": r"distill\.temperature=-1\.0: allowed is 0\.001 to 1,000",
    "distill.temperature=nan": r"distill\.temperature=nan: allowed is",
    "distill.temperature=[1]": r"distill\.temperature=\[1\]: allowed is a number",
    "distill.alpha=inf": r"distill\.alpha=inf: allowed is 0 to 1",
    "distill.alpha=true": r"distill\.alpha=.*: allowed is",
    "distill.alpha=half": r"distill\.alpha=half: allowed is a number",
    "distill.losses.hinton.weight=-1": r"distill\.losses\.hinton\.weight=-1\.0: allowed is",
    "distill.losses.hinton.weight=heavy": r"distill\.losses\.hinton\.weight=heavy: allowed is",
    "+distill.losses.magic.weight=1": r"distill\.losses\.magic: ",
    "distill.losses.hintn.weight=1": r"distill\.losses\.hintn: no such loss; .* mean hinton\?",
    "distill.losses.hinton.wieght=2": r"distill\.losses\.hinton\.wieght=2\.0: .* mean weight\?",
    "pair.student.kwargs.depth=3": r"pair\.student\.kwargs=.*: allowed is \{\}, since cifar_st",
    "plugins=[no_such_plugin]": r"plugins=no_such_plugin: no module of that name, and no no_such",
    "plugins=3": r"plugins=3: allowed is a list of files or modules",
    "+distill.losses.hinton.colour=red": r"distill\.losses\.hinton\.colour",
    "+distill.schedules.alpha.name=wild": r"distill\.schedules\.alpha\.name=wild: allowed is one",
    "+distill.schedules.alpha.end=2 +distill.schedules.alpha.name=linear": r"distill\.schedules\."
    r"alpha\.end=2: allowed is 0 to 1",
    "+distill.schedules.lr.name=linear": r"distill\.schedules\.lr=.*: allowed is a schedule of",
    "distill=hinton2": r"distill=hinton2: no such option; did you mean hinton\?",
    "distill.generator.latent=3": r"distill\.generator\.latent=3: allowed with distill=data_free",
    "distill=data_free distill.generator.latent=10000000000": r"distill\.generator\.latent=.*: al",
    "distill=deep_inversion distill.inversion.images=1": r"distill\.inversion\.images=1: allow",
    "train.threads=100000": r"train\.threads=100000: allowed is 1 to \d+ on this machine",
    "train.threads=0": r"train\.threads=0: allowed is",
    "train.epochs=0": r"train\.epochs=0: allowed is",
    "train.epochs=two": r"train\.epochs=two: allowed is a whole number",
    "train.batch_size=1": r"train\.batch_size=1: allowed is 2 or more",
    "train.batch_size=100000": r"train\.batch_size=100000: allowed is 2 to 256, the number of tr",
    "train.optimizer.name=rmsprop": r"train\.optimizer\.name=rmsprop: allowed is one of adam, ad",
    "train.optimizer.lr=-1": r"train\.optimizer\.lr=-1\.0: allowed is a number above 0",
    "train.optimizer.beta1=1": r"train\.optimizer\.beta1=1\.0: allowed is 0 up to below 1",
    "train.optimizer.momentum=nan": r"train\.optimizer\.momentum=nan: allowed is",
    "train.clip_norm=0": r"train\.clip_norm=0\.0: allowed is a number above 0",
    "train.device=gpu": r"train\.device=gpu: allowed is auto, cpu, cuda or cuda:N",
    "train.device=cuda:99": r"train\.device=cuda:99: ",
    "train.precision=fp8": r"train\.precision=fp8: allowed is one of",
    "train.fuse=vmap": r"train\.fuse=vmap: allowed is one of",
    "train.bank=perhaps": r"train\.bank=perhaps: allowed is true or false",
    "schedule.gamma=0": r"schedule\.gamma=0\.0: allowed is a number above 0",
    "schedule=multistep schedule.milestones=[-1,2]": r"schedule\.milestones=\[-1\.0, 2\.0\]: allo",
    "schedule=multistep schedule.milestones=[3,1]": r"schedule\.milestones=.*: allowed is epochs",
    "schedule.milestones=3": r"schedule\.milestones",
    "schedule=linear": r"schedule=linear: no such option",
    "schedule.peak_fraction=1": r"schedule\.peak_fraction=1\.0: allowed is above 0 and below 1",
    "pair.student.width=1e6": r"pair\.student\.width=1000000\.0: allowed is 0\.01 to 100",
    "pair.student.width=100": r"pair\.student\.width=100: makes cifar_student a model of [\d,]+ p",
    "pair.teacher.width=0": r"pair\.teacher\.width=0\.0: allowed is 0\.01 to 100",
    "pair.teacher.name=resnet20 pair.teacher.width=2": r"pair\.teacher\.width=2: allowed is 1, si",
    "pair.student.name=": r"pair\.student\.name",
    "pair.student.width=1 pair.student.name=timm/no_such_model_ever": r"pair\.student\.name=tim"
    r"m/no_such_model_ever: ",
    "pair.student.weights=/no/such/file.pt": r"pair\.student\.weights=/no/such/file\.pt: no such",
    "teacher.ensemble=1000000": r"teacher\.ensemble=1000000: allowed is 1 to 100",
    "teacher.generations=-1": r"teacher\.generations=-1: allowed is 0 to 100",
    "teacher.checkpoint=.": r"teacher\.checkpoint=\.: ",
    "teacher.checkpoint_epoch=99": r"teacher\.checkpoint_epoch=99: allowed is 1 to 10",
    "teacher.combine=votes": r"teacher\.combine=votes: allowed is one of probabilities, losses",
    "teacher.assistants=[1]": r"teacher\.assistants=1: allowed is a model's name",
    "'teacher.assistants=[{name: no_such}]'": r"teacher\.assistants.*no_such",
    "teacher.seed=-1": r"teacher\.seed=-1: allowed is 0 up to below 2\*\*62",
    "data.image_size=4": r"data\.image_size=4: allowed is 8 to 512",
    "data.val_fraction=1": r"data\.val_fraction=1\.0: allowed is 0 up to below 1",
    "data.val_fraction=0": r"data\.val_fraction=0\.0: allowed is above 0, or null, unless",
    "data.val_fraction=1e-9": r"data\.val_fraction=1e-09: takes 0 of \d+ training images",
    "data.train_limit=1000000": r"data\.train_limit=1000000: there are \d+ training images",
    "data.train_limit=-1": r"data\.train_limit=-1: allowed is a number above 0",
    "data.std=[0,1,1]": r"data\.std=\[0\.0, 1\.0, 1\.0\]: allowed is three numbers above 0",
    "data.mean=[1]": r"data\.mean=\[1\.0\]: allowed is three numbers",
    "data.views.padding=99": r"data\.views\.padding=99: allowed is 0 to 16",
    "data.views.erase=2": r"data\.views\.erase=2\.0: allowed is 0 to 1",
    "data=imagefolder data.root=/no/such/folder": r"data\.root=/no/such/folder: .* is no folder",
    "data=imagefolder": r"data\.root=",
    "data=arrays": r"data\.root=None: allowed is a \.npz file that holds x_train, y_train",
    "data=arrays data.root=no.npz": r"data\.root=no\.npz: .*/no\.npz is no file; allowed is a",
    "data=torchvision": r"data\.name=: allowed is the name of a dataset of torchvision",
    "data=torchvision data.name=SVNH": r"data\.name=SVNH: .* one of .*; did you mean SVHN\?",
    "data=torchvision data.name=MNIST data.download=false": r"data\.name=MNIST: isn't whole in",
    "data=torchvision data.name=SVHN data.mirror=http://127.0.0.1:9": r"data\.mirror=http://12.*"
    r": allowed is null with data\.name=SVHN",
    "data=huggingface": r"data\.name=: allowed is a name of the hub",
    "data=huggingface data.name=./nowhere": r"data\.name=\./nowhere: the datasets library can't",
    "data=huggingface data.name=x data.download=false": r"data\.download=False: allowed is true",
    "data=registered": r"data\.name=: allowed is the name that a dataset was registered by",
    "data.source=elsewhere": r"data\.source=elsewhere: allowed is one of kdsweep, torchvision",
    "data.subset=a": r"data\.subset=a: allowed is null without data=huggingface",
    "data.label_column=a": r"data\.label_column=a: allowed is null without data=huggingface",
    "data.options.a=1": r"data\.options=\{'a': 1\}: allowed is \{\} without data=registered",
    "data.test_fraction=0.2": r"data\.test_fraction=0\.2: allowed is null with data=digits, which",
    "data.test_fraction=1": r"data\.test_fraction=1\.0: allowed is 0 up to below 1, or null",
    "data.name=mnist": r"data\.name=mnist: allowed is one of",
    "evaluate.batch_size=0": r"evaluate\.batch_size=0: allowed is",
    "evaluate.protocol=test": r"evaluate\.protocol=test: allowed is one of validation, published",
    "evaluate.protocol=published": r"data\.val_fraction=.*: allowed is 0 with evaluate\.protocol",
    "objective=speed": r"objective=speed: allowed is one of",
    "objective=[nll,nll]": r"objective=.*: allowed is one name or several different ones",
    "pruner=asha objective=ece": r"objective=ece: allowed is accuracy or nll alone with a pruner",
    "pruner.reduction_factor=1": r"pruner\.reduction_factor=1: allowed is 2 or more",
    "tracking.backend=wandb": r"tracking\.backend=wandb: allowed is one of local, server, none",
    "tracking=server": r"tracking\.uri=None: allowed is the server's address",
    "seeds=0": r"seeds=0: allowed is 1 to 10,000",
    "seeds=1000000000": r"seeds=1000000000: allowed is 1 to 10,000",
    "seed=-1": r"seed=-1: allowed is 0 up to",
    "root=": r"root=: allowed is a folder",
    f"root={'d' * 300}": r"d{200}\.\.\.: File name too long; shorten root= and study=",
    "root=50%": r"root=50%: allowed is a folder whose path holds no \? and no %",
    "storage=sqlite://": r"storage=sqlite://: has no file",
    "study=a/b": r"study=a/b: allowed are letters",
    "study=../../esc": r"study=\.\./\.\./esc: allowed are letters",
    f"study={'x' * 250}": r"study=x{60}\.\.\.: has 250 letters; allowed are up to 100",
    "hydra.job.chdir=true": r"hydra\.job\.chdir=true: allowed is false",
    "--experimental-rerun x": r".*x.*: ",
    "--cfg all -m": r"Only one of --",
    "-m -r": r"Only one of --|.*allowed",
    "--config-name nothing": r".*nothing",
}  # fmt: skip

# The same for a sweep over two temperatures; an axis of its own replaces that.
SWEEP = {
    f"study={'x' * 300}": r"study=x{60}\.\.\.: has 300 letters; allowed are up to 100",
    "study=..": r"study=\.\.: allowed are letters",
    f"root={'d' * 300}": r"root=d{60}\.\.\.: allowed is a folder whose names",
    "storage=sqlite:///:memory:": r"storage=sqlite:///:memory:: has no file",
    "storage=nonsense": r"storage=nonsense: ",
    "hydra.sweeper.n_trials=ten": r"hydra\.sweeper\.n_trials=ten: allowed is a whole number fro",
    "hydra.sweeper.n_trials=null": r"hydra\.sweeper\.n_trials=None: allowed is a whole number",
    "hydra.sweeper.n_trials=0.5": r"hydra\.sweeper\.n_trials=0\.5: allowed is a whole number fro",
    "search=tpe hydra.sweeper.n_trials=0": r"hydra\.sweeper\.n_trials=0: allowed is a whole num",
    "hydra/sweeper=optuna hydra.sweeper.n_trials=0": r"hydra\.sweeper\.n_trials=0: allowed is a w",
    "hydra/sweeper=optuna hydra.sweeper.n_jobs=all": r"hydra\.sweeper\.n_jobs=all: allowed is a w",
    "hydra/sweeper=optuna hydra.sweeper.max_failure_rate=2": r"hydra\.sweeper\.max_failure_rate=2:"
    r" allowed is a number from 0 to 1",
    "hydra.sweeper.n_jobs=all": r"hydra\.sweeper\.n_jobs=all: allowed is a whole number .* null",
    "hydra.sweeper.timeout=1h": r"hydra\.sweeper\.timeout=1h: allowed is a number from 0",
    "hydra.sweeper.timeout=-1": r"hydra\.sweeper\.timeout=-1: allowed is a number from 0",
    "hydra.sweeper.max_failures=x": r"hydra\.sweeper\.max_failures=x: allowed is a whole number",
    "hydra.sweeper.max_failure_rate=x": r"hydra\.sweeper\.max_failure_rate=x: allowed is a numbe",
    "hydra.sweeper.max_failure_rate=null": r"hydra\.sweeper\.max_failure_rate=None: allowed is",
    "hydra.sweeper.max_retries=x": r"hydra\.sweeper\.max_retries=x: allowed is a whole number",
    "+hydra.sweeper.key=1": r"hydra\.sweeper\.key: no such key",
    "hydra.sweeper.n_trails=1": r"hydra\.sweeper\.n_trails: no such key",
    "hydra.sweeper.direction=up": r"hydra\.sweeper\.direction=up: allowed is minimize or maximiz",
    "hydra.sweeper.enqueue=foo": r"hydra\.sweeper\.enqueue=foo: allowed is a list of points",
    "'hydra.sweeper.enqueue={distill.temperature: 1}'": r"hydra\.sweeper\.enqueue=.*: allowed",
    "'hydra.sweeper.enqueue=[{distill.temperature: 9}]'": r"hydra\.sweeper\.enqueue: ",
    "hydra.sweeper.params=3": r"hydra\.sweeper\.params=3: allowed is keys",
    "hydra.sweeper.custom_search_space=a.b": r"hydra\.sweeper\.custom_search_space=a\.b: allowed",
    "hydra.sweeper.storage=null": r"hydra\.sweeper\.storage=None: allowed is",
    "hydra/sweeper/sampler=magic": r"hydra/sweeper/sampler=magic: no such option",
    "hydra/launcher=magic": r"hydra/launcher=magic: no such option",
    "hydra.sweeper._target_=os.system": r"os\.system: is no sweeper and no launcher",
    "hydra.launcher._target_=os.system": r"os\.system: is no sweeper and no launcher",
    "'+hydra.job_logging.handlers.evil={class: subprocess.Popen, args: [touch, evil]}'": r"hydra"
    r"\.job_logging\.handlers\.evil\.class=subprocess\.Popen: allowed are the classes of logging",
    "hydra.sweep.dir=/proc/x": r"(can't write in )?/proc/x",
    "distill.temperature=glob(*)": r"distill\.temperature=glob\(\*\): allowed is a list",
    "distill.temperature=range(1,200000)": r"distill\.temperature=range\(1,200000\): has 199,999",
    "distill.temperature=range(1,1001) distill.alpha=range(0,1,0.001)": r"the grid has 1,000,000",
    "distill.temperature=interval(1,2)": r"distill\.temperature: an interval has no exact grid",
    "distill.temperature=1,2,0": r"distill\.temperature=0\.0: allowed is",
    "distill.temperature=1,hot": r"distill\.temperature=hot: allowed is a number",
    "distill.temperature=range(3,1)": r"distill\.temperature=range\(3,1\): ",
    "distill.temperature=range(1,3,0)": r"distill\.temperature=range\(1,3,0\): ",
    "search=tpe distill.temperature=interval(5,1)": r"distill\.temperature=interval\(5,1\)",
    "search=cmaes distill.temperature=interval(1,2) distill=hinton,dkd": r"distill=hin"
    r"ton,dkd: is a list, and CmaEsSampler searches",
    "search=cmaes distill.temperature=1,2,3": r"distill\.temperature=1,2,3: is a list, and CmaEs",
    "study=a,b": r"study=a,b: is no axis of a sweep",
    "root=a,b": r"root=a,b: is no axis of a sweep",
    "storage=sqlite:///a,sqlite:///b": r"storage=sqlite:///a,sqlite:///b: is no axis of a sweep",
    "trial=1,2": r"trial=1,2: is no axis of a sweep",
    "tracking=local,none": r"tracking=local,none: is no axis of a sweep",
    "tracking.experiment=a,b": r"tracking\.experiment=a,b: is no axis of a sweep",
    "objective=accuracy,nll": r"objective=accuracy,nll: is no axis of a sweep",
    "pruner=none,median": r"pruner=none,median: is no axis of a sweep",
    "seed=1,2": r"seed=1,2: is no axis of a sweep; seeds=3 trains every cell with three",
    "hydra.sweeper.n_trials=1,2": r"hydra\.sweeper\.n_trials=1,2",
    "distill=none distill.alpha=0.3,0.7": r"distill\.\w+=.*: changes nothing",
    "pair.student.width=0.5,100": r"pair\.student\.width=100: makes cifar_student a model of",
    "train.batch_size=32,100000": r"train\.batch_size=100000: allowed is 2 to 256",
}  # fmt: skip

EXPORT = {
    "study=nothing": r"study=nothing: not in sqlite:///mlruns/optuna\.db",
    "study=../../esc": r"study=\.\./\.\./esc: allowed are letters",
    "study=": r"study=: allowed are letters",
    "stduy=base": r"stduy=base: allowed are study=, .*did you mean study",
    "base": r"base: allowed are study=",
    "study=base storage=sqlite://": r"storage=sqlite://: has no file",
    "study=base root=nowhere": r"sqlite:///nowhere/optuna\.db: no such database",
    "root=a%b": r"root=a%b: allowed is a folder",
    "study=base storage=nonsense": r"storage=nonsense: ",
    "study=base out=/proc/x": r"can't write in /proc/x",
}

CONFIRM = {
    "": r"study=: name the study",
    "study=base top=²": r"top=²: allowed is a whole number from 1 to 10,000",
    "study=base top=0": r"top=0: allowed is a whole number from 1",
    "study=base top=1e9": r"top=1e9: allowed is a whole number",
    "study=base seeds=2": r"seeds=2: allowed is a whole number from 3",
    "study=base seeds=99999999999999999999": r"seeds=9+: allowed is a whole number",
    "study=base again=yes": r"again=yes: allowed is true or false",
    "study=base side=left": r"side=left: allowed is best, worst, both",
    "study=../../esc": r"study=\.\./\.\./esc: allowed are letters",
    "study=nothing": r"study=nothing: not in sqlite:///mlruns/optuna\.db",
    "study=base storage=sqlite:///": r"storage=sqlite:///: has no file",
    "study=base root=nowhere": r"sqlite:///nowhere/optuna\.db: no such database",
}


def sweep_of(asked: str) -> list[str]:
    """The arguments of a sweep: over two temperatures, where ``asked`` has no such axis."""
    words = shlex.split(asked)
    own = any(word.startswith("distill.temperature=") for word in words)
    return ["-m", *SMOKE, *(() if own else (GRID,)), *words]


Run = Callable[..., Ended]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """A command in this process and an empty folder; what was changed for it is put back."""
    root, threads = logging.getLogger(), torch.get_num_threads()
    level, handlers = root.level, root.handlers.copy()
    monkeypatch.chdir(tmp_path)

    def run(start: Callable[[], None], *arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["kdsweep", *arguments])
        with pytest.raises(SystemExit) as ended:
            start()
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(status=ended.value.code, out=printed.out, err=printed.err)

    yield run
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    torch.set_num_threads(threads)


def check(ended: Ended, expected: str) -> None:
    """One line on stderr that says what was expected, status 2, and nothing trained or kept."""
    assert ended.status == 2, ended
    assert ended.err.startswith("kdsweep: "), ended
    assert ended.err.count("\n") == 1, ended
    line = ended.err.removeprefix("kdsweep: ").rstrip("\n")
    assert re.match(expected, line), line
    assert "unexpected" not in line
    assert len(line) < 900
    assert "epoch" not in ended.out
    kept = [str(p) for p in Path().rglob("*") if p.is_file() and "store/images" not in str(p)]
    assert kept == []


@pytest.mark.parametrize("asked", SINGLE)
def test_an_experiment(run: Run, asked: str) -> None:
    check(run(cli.main, *SMOKE, *shlex.split(asked)), SINGLE[asked])


@pytest.mark.parametrize("asked", SWEEP)
def test_a_sweep(run: Run, asked: str) -> None:
    check(run(cli.main, *sweep_of(asked)), SWEEP[asked])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A root with the database of a study that is called base."""
    (tmp_path / "mlruns").mkdir()
    file = tmp_path / "mlruns" / "optuna.db"
    optuna.create_study(study_name="base", storage=f"sqlite:///{file}")
    return file


def exporting() -> None:
    command.run(export, EXPORT_USAGE, explain)


def confirming() -> None:
    command.run(confirm, CONFIRM_USAGE, explain)


def check_beside(ended: Ended, expected: str, base: Path) -> None:
    """``check``, where the study's database is all that there is."""
    before = base.read_bytes()
    base.unlink()
    check(ended, expected)
    base.write_bytes(before)


@pytest.mark.parametrize("asked", EXPORT)
def test_an_export(run: Run, base: Path, asked: str) -> None:
    check_beside(run(exporting, *shlex.split(asked)), EXPORT[asked], base)


@pytest.mark.parametrize("asked", CONFIRM)
def test_a_confirmation(run: Run, base: Path, asked: str) -> None:
    check_beside(run(confirming, *shlex.split(asked)), CONFIRM[asked], base)


def sweeping() -> None:
    sys.argv[1:] = ["-m", *SMOKE, GRID, *sys.argv[1:]]
    cli.main()


@pytest.mark.parametrize("start", [exporting, confirming, sweeping])
@pytest.mark.parametrize("harm", ["garbage", "pages"])
def test_a_damaged_database(run: Run, base: Path, start: Callable[[], None], harm: str) -> None:
    whole = base.read_bytes()
    damaged = {"garbage": b"no database" * 1000, "pages": whole[:4096] + b"\x7f" * 50_000}
    base.write_bytes(damaged[harm])
    ended = run(start, "study=base")
    check_beside(ended, r"storage=sqlite:///mlruns/optuna\.db: ", base)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((*SMOKE, "distill.temperature=1e300"), SINGLE["distill.temperature=1e300"]),
        (("-m", *SMOKE, "search=cmaes", "distill=hinton,dkd"), r"distill=hinton,dkd: is a list"),
    ],
)
def test_by_a_process_of_its_own(
    command: Command, tmp_path: Path, asked: tuple[str, ...], expected: str
) -> None:
    os.chdir(tmp_path)
    check(command(*asked, cwd=tmp_path), expected)


def test_versions_and_help(command: Command, tmp_path: Path) -> None:
    ended = command("--version", cwd=tmp_path)
    assert ended.status == 0
    names = [line.split()[0] for line in ended.out.splitlines()]
    assert names == ["kdsweep", "hydra-core", "optuna", "mlflow", "torch"]
    shown = command("--help", cwd=tmp_path).out
    for word in (
        "kdsweep.confirm study=NAME",
        "kdsweep.export study=NAME",
        "kdsweep.package",
        "experiment=quickst",
    ):
        assert word in shown
