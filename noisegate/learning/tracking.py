"""The way to MLflow: its address, a client that fails soon, its errors as ours."""

import fcntl
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow import MlflowClient, MlflowException
from mlflow.exceptions import InvalidUrlException
from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
from opentelemetry.trace import SpanKind
from requests.exceptions import RequestException
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from noisegate.errors import SettingsError, UnreachableError
from noisegate.settings import Settings
from noisegate.spans import span
from noisegate.store.database import connect_url

_SETTING = "NOISEGATE_MLFLOW_TRACKING_URI"


def tracking_uri(settings: Settings) -> str:
    """MLflow's address as MLflow wants it: of a database, with our driver.

    Raises:
        SettingsError: it looks like a database URL and is none.
    """
    uri = settings.tracking_uri
    if not _is_database(uri):
        return uri
    return connect_url(uri, _SETTING).render_as_string(hide_password=False)


def connect(uri: str) -> MlflowClient:
    """A client of tracking and registry. A database's tables are made if they are not there.

    Call it, and whatever the client does, inside `answering`.
    """
    if _is_database(uri):
        # MLflow itself would try for two minutes.
        engine = create_engine(uri)
        try:
            engine.connect().close()
        finally:
            engine.dispose()
    try:
        with _alone(uri):
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            client.search_experiments(max_results=1)
            return _traced(client)
    except (UnsupportedModelRegistryStoreURIException, InvalidUrlException) as error:
        raise SettingsError(
            f"{_SETTING} = {_shown(uri)} is no MLflow: write sqlite:///FILE, a database URL or "
            "http://HOST:PORT"
        ) from error


def _traced(client: MlflowClient) -> MlflowClient:
    """Each call of this client is a span: MLflow's own tracing follows models, not its client."""
    for name, call in inspect.getmembers(client, inspect.ismethod):
        if not name.startswith("_"):
            traced = span(f"mlflow {name}", {"peer.service": "mlflow"}, kind=SpanKind.CLIENT)
            setattr(client, name, traced(call))
    return client


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Two processes that make a SQLite file's tables at once would trip over each other."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    with Path(uri.removeprefix("sqlite:///") + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def experiment(client: MlflowClient, name: str, artifacts: Path) -> str:
    """The experiment's id; it is made if it is not there.

    A server keeps artefacts where it wants; beside a database they lie in the folder given.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        location = artifacts.as_uri() if _is_database(client.tracking_uri) else None
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            # Another process was faster.
            found = client.get_experiment_by_name(name)
    assert found is not None
    return found.experiment_id


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Inside, an MLflow that does not answer is our error.

    Raises:
        UnreachableError: names the setting and the address, without its password.
    """
    # MLflow's own stores ask the global setting behind the client's back.
    mlflow.set_tracking_uri(uri)
    try:
        yield
    except (MlflowException, SQLAlchemyError, RequestException, OSError) as error:
        if getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE":
            raise  # what we asked for was wrong: our defect, not MLflow's absence
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UnreachableError(
            f"{_SETTING} = {_shown(uri)} does not answer as it should ({reason}): start that "
            "MLflow or mend the setting, then `noisegate doctor`"
        ) from error


def _is_database(uri: str) -> bool:
    return uri.startswith(("sqlite", "postgres", "mysql", "mssql"))


def _shown(uri: str) -> str:
    head, at, tail = uri.rpartition("@")
    scheme, _, user = head.partition("://")
    return f"{scheme}://{user.partition(':')[0]}:***@{tail}" if at else tail
