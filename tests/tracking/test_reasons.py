"""Errors of MLflow's client, as they are really worded, in a few words of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdsweep.config import TrackingConfig
from kdsweep.tracking.base import RecordRefused, StoreAway
from kdsweep.tracking.failures import failure
from kdsweep.tracking.store import resolve

POOL = (
    "API request to http://u:PW@h:5000/api/2.0/mlflow/runs/log-batch failed with exception "
    "HTTPConnectionPool(host='h', port=5000): Max retries exceeded with url: "
    "/api/2.0/mlflow/runs/log-batch (Caused by "
)
REASONS = {
    POOL + "NewConnectionError(\"HTTPConnection(host='h', port=5000): Failed to establish a new "
    'connection: [Errno 111] Connection refused"))': "connection refused",
    POOL + "ConnectTimeoutError(<HTTPConnection(host='h', port=5000) at 0x7>, 'Connection to h "
    "timed out. (connect timeout=15)'))": "no answer in time",
    POOL + "NameResolutionError(\"HTTPConnection(host='h', port=5000): Failed to resolve 'h' "
    '([Errno -2] Name or service not known)"))': "no such host",
    POOL + "ResponseError('too many 503 error responses'))": "it answers 503",
    "API request to http://h/x failed with exception ('Connection aborted.', "
    "RemoteDisconnected('Remote end closed connection without response'))": "it hung up",
    "API request to endpoint /api/2.0/mlflow/runs/create failed with error code 404 != 200. "
    "Response body: '<html>": "it answers 404",
    '(psycopg2.OperationalError) connection to server at "h" (10.0.0.1), port 5432 failed: '
    "Connection refused\n\tIs the server running on that host?": "connection refused",
    "(psycopg2.OperationalError) server closed the connection unexpectedly\n\tThis": "it hung up",
    "something new\nwith more": "something new",
    "storage postgresql://u:PW@h/d is new": "storage postgresql://u:***@h/d is new",
    "x" * 400: "x" * 159 + "…",
}


@pytest.mark.parametrize(("message", "reason"), REASONS.items())
def test_one_short_line(message: str, reason: str, tmp_path: Path) -> None:
    from mlflow.exceptions import MlflowException

    store = resolve(TrackingConfig(backend="server", uri="http://u:PW@h:5000"), root=tmp_path)
    assert store.uri == "http://u:PW@h:5000", "what connects is left alone"
    error = failure(MlflowException(message), store, "run a")
    assert str(error) == f"tracking.uri=http://u:***@h:5000: run a: {reason}"


def test_what_another_try_may_mend(tmp_path: Path) -> None:
    from mlflow.exceptions import MlflowException, RestException
    from requests import ConnectionError as NoConnection
    from requests import HTTPError, Response
    from sqlalchemy.exc import OperationalError

    def answer(status: int) -> HTTPError:
        response = Response()
        response.status_code = status
        return HTTPError("no", response=response)

    store = resolve(TrackingConfig(), root=tmp_path)
    passing: list[Exception] = [
        MlflowException("API request failed"),
        RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "busy"}),
        RestException({"error_code": "ENDPOINT_NOT_FOUND", "message": "a proxy's page"}),
        RestException({"error_code": "UNAUTHENTICATED", "message": "password changed"}),
        NoConnection("gone"),
        OSError(28, "No space left on device", "/x"),
        OperationalError("INSERT", {}, Exception("database is locked")),
        *map(answer, (401, 403, 404, 408, 429, 500, 503)),
    ]
    lasting: list[Exception] = [
        RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"}),
        RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "deleted"}),
        answer(413),
        TypeError("a mistake"),
    ]
    assert [type(failure(error, store, "x")) for error in passing] == [StoreAway] * len(passing)
    assert {type(failure(error, store, "x")) for error in lasting} == {RecordRefused}
