"""An MLflow server inside the test: MLflow's own application, which goes away when told to."""

from __future__ import annotations

import contextlib
import importlib
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from werkzeug.serving import BaseWSGIServer

Application = Callable[[dict[str, Any], Callable[..., Any]], Any]


class MlflowServer:
    """MLflow's REST API on a local port, over a SQLite file.

    Attributes:
        requests: the path of each request.
        before: called with each request's path; what it raises is no answer at all.
        after: the same, once the request is carried out and before it is answered.
    """

    def __init__(self, application: Application) -> None:
        self.application = application
        self.port = 0
        self.requests: list[str] = []
        self.authorizations: set[str] = set()
        self.before: Callable[[str], None] = lambda path: None
        self.after: Callable[[str], None] = lambda path: None
        self._server: BaseWSGIServer | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, *_: Any) -> None: ...

            def connection_dropped(self, *_: Any) -> None: ...

        self._server = make_server(
            "127.0.0.1", self.port, self._answer, threaded=True, request_handler=Quiet
        )
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Go away: connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _answer(self, environment: dict[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        path = environment["PATH_INFO"]
        started: list[tuple[Any, ...]] = []
        self.requests.append(path)
        self.authorizations.add(environment.get("HTTP_AUTHORIZATION", ""))
        try:
            self.before(path)
            parts = self.application(environment, lambda *given: started.append(given))
            with contextlib.closing(parts):
                answer = b"".join(parts)
            self.after(path)
        except ConnectionError:
            respond("503 Service Unavailable", [])
            return [b"away"]
        respond(*started[0][:2])
        return [answer]


@contextlib.contextmanager
def serving(
    folder: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MlflowServer]:
    """A server over a database that exists; it keeps artefacts in ``folder``."""
    for name, value in (
        ("_MLFLOW_SERVER_FILE_STORE", f"sqlite:///{database}"),
        ("_MLFLOW_SERVER_SERVE_ARTIFACTS", "true"),
        ("_MLFLOW_SERVER_ARTIFACT_ROOT", "mlflow-artifacts:/"),
        ("_MLFLOW_SERVER_ARTIFACT_DESTINATION", str(folder)),
    ):
        monkeypatch.setenv(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that MLflow's server stands on
        importlib.import_module("mlflow.server.fastapi_app")  # which a search imports
        from mlflow.server import app, handlers
    for name in ("_tracking_store", "_artifact_repo"):  # of an earlier test's server
        monkeypatch.setattr(handlers, name, None)
    # It would set the process's own address, in the environment as well.
    monkeypatch.setattr(handlers.utils, "set_tracking_uri", lambda uri: None)
    server = MlflowServer(app)
    server.start()
    try:
        yield server
    finally:
        server.stop()
