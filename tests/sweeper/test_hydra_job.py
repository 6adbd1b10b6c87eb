"""What Hydra knows of jobs that train together: folders, files, logs, callbacks, returns."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobRuntime, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

from kdsweep.cli import WHITELIST
from kdsweep.config import Config
from kdsweep.config.paths import conf_dir
from kdsweep.config.typed import config_from_plain, typed
from kdsweep.errors import TrainingError, UserError
from kdsweep.jobs import batch
from kdsweep.jobs.coroutines import run
from kdsweep.jobs.job import Job, Outcome
from kdsweep.jobs.plan import Plan
from kdsweep.jobs.session import Session
from kdsweep.results.record import write_record
from kdsweep.sweeper.compose import Composer
from kdsweep.sweeper.launcher import FusedLauncher
from kdsweep.sweeper.loop import SweepLoop
from kdsweep.sweeper.plugins import register
from tests.results.made import record

OWN = ("experiment=smoke", "tracking=none", "study=s")


class Seen(Callback):
    """Writes down which callbacks were called, with which job, and which one Hydra shows."""

    def __init__(self) -> None:
        self.files: list[bool] = []  # whether it was there when the job started
        self.starts: list[tuple[int, int]] = []
        self.ends: list[tuple[int, int]] = []
        self.returns: list[JobReturn] = []

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        folder = Path(config.hydra.runtime.output_dir)
        self.files.append((folder / ".hydra" / "config.yaml").is_file())
        self.starts.append((config.hydra.job.num, HydraConfig.get().job.num))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        self.ends.append((config.hydra.job.num, HydraConfig.get().job.num))
        self.returns.append(job_return)


@dataclass
class Training:
    """Stands in for ``train_plans``: logs a line, and gives a job 50 and its trial's number."""

    failing: set[int] = field(default_factory=set)
    ending: BaseException | None = None
    calls: list[list[int]] = field(default_factory=list)  # jobs of each population, by call

    async def __call__(
        self, session: object, plans: Sequence[Plan], **_: object
    ) -> dict[Path, Outcome]:
        self.calls.append([len(plan.jobs) for plan in plans])
        logging.getLogger("kdsweep.jobs").info("batch %d trains", len(self.calls))
        if self.ending is not None:
            raise self.ending
        return {job.folder: self._outcome(job) for plan in plans for job in plan.jobs}

    def _outcome(self, job: Job) -> Outcome:
        number = job.config.trial
        assert number is not None
        if number in self.failing:
            return Outcome(error=TrainingError(f"job {number} diverged"))
        made = record(number, [50.0 + number], (), study="s")
        write_record(job.folder, made)
        return Outcome(record=made)


@dataclass
class Setting:
    """A launcher as Hydra sets it up, and what it is given."""

    root: Path
    training: Training
    seen: Seen

    def __post_init__(self) -> None:
        callbacks = Callbacks()
        callbacks.callbacks.append(self.seen)
        self.loader = GlobalHydra.instance().config_loader()
        self.context = HydraContext(
            config_loader=self.loader, callbacks=callbacks, execution_whitelist=WHITELIST
        )

    def launcher(self, *arguments: str) -> FusedLauncher:
        config = self.loader.load_configuration(
            "config", [*OWN, f"root={self.root}", *arguments], run_mode=RunMode.MULTIRUN
        )
        made = FusedLauncher()
        made.setup(hydra_context=self.context, task_function=lambda _: None, config=config)
        return made

    def train(
        self, points: Sequence[str], *arguments: str, session: Session | None = None
    ) -> list[JobReturn]:
        """A batch of one job for each point."""
        launcher = self.launcher(*arguments)
        composer = Composer(self.context, launcher.config)
        task = launcher.config.hydra.overrides.task
        jobs = []
        for number, point in enumerate(points):
            overrides = (*task, point, f"trial={number}")
            config = typed(composer.compose(overrides))
            jobs.append(Job(config=config, folder=self.folder(number), overrides=overrides))
        plans: Any = [SimpleNamespace(jobs=jobs)]
        with Session(jobs[0].config) as opened:
            return run(launcher.train(session or opened, composer, jobs, plans))

    def folder(self, number: int) -> Path:
        return self.root / "hydra" / "studies" / "s" / str(number)

    def sweep(self, *arguments: str) -> None:
        """A sweep as the sweeper runs it."""
        launcher = self.launcher(*arguments)
        config = launcher.config
        options = {k: config.hydra.sweeper[k] for k in config.hydra.sweeper if k != "_target_"}
        sweeper: Any = SimpleNamespace(
            launcher=launcher, hydra_context=self.context, config=config, options=options
        )
        SweepLoop(sweeper, list(config.hydra.overrides.task)).run()


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    """A setting that leaves the logging of this process as it was."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers.copy()
    training = Training()
    monkeypatch.setattr(batch, "train_plans", training)
    before = JobRuntime.instance().conf.copy()
    register()
    with initialize_config_dir(str(conf_dir())):
        JobRuntime.instance().set("name", "kdsweep")
        yield Setting(tmp_path / "runs", training, Seen())
    JobRuntime.instance().conf = before
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


POINTS = ("distill.temperature=1", "distill.temperature=2", "distill.alpha=0.25")


def test_every_jobs_files_say_what_was_trained(setting: Setting) -> None:
    setting.train(POINTS, "seeds=2")
    for number, point in enumerate(POINTS):
        files = setting.folder(number) / ".hydra"
        assert sorted(file.name for file in files.iterdir()) == [
            "config.yaml", "hydra.yaml", "overrides.yaml",
        ]  # fmt: skip
        plain: Any = OmegaConf.to_container(OmegaConf.load(files / "config.yaml"))
        config = config_from_plain(plain)
        key, _, value = point.removeprefix("distill.").partition("=")
        assert getattr(config.distill, key) == float(value)
        assert (config.trial, config.seeds, config.root) == (number, 2, str(setting.root))
        overrides = OmegaConf.to_container(OmegaConf.load(files / "overrides.yaml"))
        assert isinstance(overrides, list)
        assert overrides[-3:] == ["seeds=2", point, f"trial={number}"]
        hydra = OmegaConf.load(files / "hydra.yaml").hydra
        assert (hydra.job.num, hydra.job.id) == (number, str(number))
        assert hydra.runtime.output_dir == str(setting.folder(number))
        assert list(hydra.overrides.task) == overrides


def test_what_a_sweep_trains_stands_in_the_files_of_each_job(setting: Setting) -> None:
    """The seeds of its round among it, and as many baselines as its race has."""
    setting.sweep("distill.temperature=1,2,3", "seeds=2", "rounds=1")
    for number in range(3):
        files = setting.folder(number) / ".hydra"
        plain: Any = OmegaConf.to_container(OmegaConf.load(files / "config.yaml"))
        config = config_from_plain(plain)
        assert (config.trial, config.round, config.seeds) == (number, 1, 2)
        assert config.distill.temperature == number + 1
        assert config.verdict.baseline_seeds == 4  # ceil(2 sqrt(3))
        overrides = OmegaConf.to_container(OmegaConf.load(files / "overrides.yaml"))
        assert isinstance(overrides, list)
        assert {f"distill.temperature={number + 1}", f"trial={number}", "round=1"} <= set(
            overrides
        )


def test_no_files_where_the_user_wants_none(setting: Setting) -> None:
    setting.train(POINTS, "hydra.output_subdir=null")
    assert setting.seen.files == [False] * 3
    assert not list(setting.root.rglob("config.yaml"))


def test_every_job_has_the_batchs_log(setting: Setting) -> None:
    setting.train(POINTS[:2])
    logs = [setting.folder(number) / "kdsweep.log" for number in (0, 1)]
    first, second = (log.read_text() for log in logs)
    assert first.count("batch 1 trains") == 1
    assert first == second
    logging.getLogger("kdsweep").info("after the batch")
    assert [log.read_text() for log in logs] == [first, second]


def test_a_later_batch_logs_to_its_own_jobs(setting: Setting) -> None:
    setting.sweep("distill.temperature=1,2,3", "hydra.sweeper.n_jobs=2")
    assert setting.training.calls == [[2], [1]]
    texts = [(setting.folder(number) / "kdsweep.log").read_text() for number in range(3)]
    assert ["batch 1 trains" in text for text in texts] == [True, True, False]
    assert ["batch 2 trains" in text for text in texts] == [False, False, True]


def test_callbacks_are_called_once_a_job_and_see_it(setting: Setting) -> None:
    before = HydraConfig.instance().cfg
    returns = setting.train(POINTS)
    assert setting.seen.starts == setting.seen.ends == [(0, 0), (1, 1), (2, 2)]
    assert all(setting.seen.files)
    assert setting.seen.returns == returns
    assert HydraConfig.instance().cfg is before


def test_returns_are_in_the_order_of_the_jobs(setting: Setting) -> None:
    setting.training.failing = {1}
    first, failed, last = setting.train(POINTS)
    assert [list(one.overrides or ())[-2:] for one in (first, failed, last)] == [
        [point, f"trial={number}"] for number, point in enumerate(POINTS)
    ]
    assert (first.return_value, last.return_value) == (50.0, 52.0)
    assert first.cfg is not None
    assert "hydra" not in first.cfg
    assert first.cfg.distill.temperature == 1.0
    assert failed.status == JobStatus.FAILED
    with pytest.raises(TrainingError, match="job 1 diverged"):
        _ = failed.return_value


@pytest.mark.parametrize("ending", [KeyboardInterrupt(), UserError("not so"), RuntimeError("no")])
def test_callbacks_are_called_though_the_batch_ends_early(
    setting: Setting, ending: BaseException
) -> None:
    setting.training.ending = ending
    with pytest.raises(type(ending)):
        setting.train(POINTS)
    assert setting.seen.ends == [(0, 0), (1, 1), (2, 2)]
    assert {one.status for one in setting.seen.returns} == {JobStatus.FAILED}


def test_130_cells_train_as_one_population(setting: Setting) -> None:
    temperatures = ",".join(map(str, range(1, 14)))
    alphas = ",".join(str(i / 10) for i in range(10))
    grid = (f"distill.temperature={temperatures}", f"distill.alpha={alphas}")
    setting.sweep(*grid, "hydra.sweeper.n_jobs=130")
    assert setting.training.calls == [[130]]
    assert [one for one, _ in setting.seen.ends] == list(range(130))


SECRETS = (
    "storage=postgresql+psycopg2://me:s3cret@host/db",
    "tracking.uri=http://me:s3cret@host:5000",
    "+hydra.job.env_set.ADDRESS=http://me:s3cret@host",
)


def test_passwords_stand_in_no_file(setting: Setting) -> None:
    with Session(Config(root=str(setting.root))) as one:  # opens neither of the two
        setting.train(POINTS, *SECRETS, session=one)
    files = [path for path in setting.root.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"config.yaml", "hydra.yaml", "overrides.yaml"}
    for path in files:
        assert "s3cret" not in path.read_text(), path
    config = OmegaConf.load(setting.folder(0) / ".hydra" / "config.yaml")
    assert config.storage == "postgresql+psycopg2://me:***@host/db"
    assert config.tracking.uri == "http://me:***@host:5000"


def test_a_working_folder_of_its_own_is_refused(setting: Setting) -> None:
    with pytest.raises(UserError, match=r"^hydra.job.chdir=true: allowed is false"):
        setting.train(POINTS, "hydra.job.chdir=true")
    assert setting.training.calls == []
