"""The model registry: `bonehpo promote` puts a network there, `bonehpo predict` takes it from there."""

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import numpy.typing as npt
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from bonehpo.errors import TrackingError
from bonehpo.tracking.database import Tracking, first_line
from bonehpo.tracking.ledger import experiment_of

CHAMPION, RAN_ON = "champion", "bonehpo.ran_on"
_REQUIRED = ("mlflow", "keras", "tensorflow", "numpy")


@dataclass(frozen=True, kw_only=True)
class RegisteredVersion:
    """A version in the registry.

    Attributes:
        name: Name of the registered model.
        version: Its version, from 1.
        uri: What MLflow loads and serves: `models:/<name>@champion`.
        ran_on: "phantom" where the network was trained on phantoms and knows nothing of real bone, else "scans".
        tracking_uri: Of the registry.
    """

    name: str
    version: int
    uri: str
    ran_on: str
    tracking_uri: str


@dataclass(frozen=True, kw_only=True)
class NewModel:
    """A network to be registered.

    Attributes:
        name: Name of the registered model, `bonehpo-<bone>`.
        study: Name of the study that found it.
        network: `.keras` file; takes uint8 (batch, side, side, 1), answers softmax (batch, 2).
        recipe_json: How a scan is prepared for it.
        card: Model card in Markdown.
        tags: By which versions are told apart.
        input_example: 8-bit slices, uint8, shape (n, side, side).
    """

    name: str
    study: str
    network: Path
    recipe_json: str
    card: str
    tags: Mapping[str, str]
    input_example: npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class RegisteredNetwork:
    """A version of a registered model, loaded.

    Attributes:
        name: Name of the registered model.
        version: Its version.
        card: Its model card in Markdown.
        recipe_json: How a scan is prepared for it.
        ran_on: "phantom" or "scans".
        side: Side of its slices in pixels.
    """

    name: str
    version: int
    card: str
    recipe_json: str
    ran_on: str
    side: int
    _model: Any

    def predict(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Softmax output of (pristine, failed), shape (n, 2), for 8-bit slices, uint8, shape (n, side, side)."""
        answer: npt.NDArray[np.float32] = self._model.predict(images)
        return answer


def register_champion(tracking: Tracking, new: NewModel) -> RegisteredVersion:
    """Log a network as an MLflow model, make it a version of its registered model, and move the alias to it, last.

    A crash at any moment leaves the former champion in place.

    Args:
        tracking: Where to register.
        new: What to register.

    Returns:
        The version made.

    Raises:
        TrackingError: MLflow refuses it, or its files cannot be written.
    """
    try:
        with _as_default(tracking), tempfile.TemporaryDirectory() as folder:
            made = _register(tracking, new, Path(folder))
    except (MlflowException, OSError) as error:
        raise TrackingError(
            f"{new.name} was not registered at {tracking.uri}: {first_line(error)}; "
            "the former champion stays, run `bonehpo promote` again"
        ) from error
    return RegisteredVersion(
        name=new.name,
        version=int(made.version),
        uri=f"models:/{new.name}@{CHAMPION}",
        ran_on=new.tags.get(RAN_ON, "unknown"),
        tracking_uri=tracking.uri,
    )


_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+)|@(?P<alias>[^/@]+))?")


def load_registered(tracking: Tracking, model: str) -> RegisteredNetwork:
    """Load a version of a registered model.

    Args:
        tracking: Where it is registered.
        model: Name of the registered model, `bonehpo-<bone>`, for the version that the alias `champion` names; or
            `models:/NAME`, which is the same, `models:/NAME/VERSION` or `models:/NAME@ALIAS`.

    Raises:
        TrackingError: There is none, or its files cannot be read.
    """
    uri = model if model.startswith("models:") else f"models:/{model}"
    asked = _URI.fullmatch(uri)
    if asked is None:
        raise TrackingError(
            f"{model} names no registered model: give bonehpo-<bone>, models:/NAME/VERSION or models:/NAME@ALIAS"
        )
    found = _find_version(tracking, asked["name"], asked["version"], asked["alias"] or CHAMPION)
    try:
        with _as_default(tracking):
            folder = Path(mlflow.artifacts.download_artifacts(f"models:/{found.name}/{found.version}"))
            network = mlflow.pyfunc.load_model(str(folder))
        card = (folder / "artifacts" / "card.md").read_text("utf-8")
        recipe_json = (folder / "artifacts" / "recipe.json").read_text("utf-8")
    except (MlflowException, OSError, ValueError) as error:
        raise TrackingError(
            f"The files of {found.name} version {found.version} cannot be read ({first_line(error)}): "
            "restore them, or promote again"
        ) from error
    side = network.metadata.get_input_schema().inputs[0].shape[1]
    return RegisteredNetwork(
        name=found.name,
        version=int(found.version),
        card=card,
        recipe_json=recipe_json,
        ran_on=found.tags.get(RAN_ON, "unknown"),
        side=side,
        _model=network,
    )


def _find_version(tracking: Tracking, name: str, version: str | None, alias: str) -> ModelVersion:
    try:
        if version is not None:
            return tracking.client.get_model_version(name, version)
        return tracking.client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        bone = name.removeprefix("bonehpo-")
        asked = f"{name}@{alias}" if version is None else f"version {version} of {name}"
        raise TrackingError(
            f"{tracking.uri} holds no {asked}: run `bonehpo promote` for the study of {bone} first"
        ) from error


def _register(tracking: Tracking, new: NewModel, folder: Path) -> ModelVersion:
    client = tracking.client
    experiment_id = experiment_of(tracking, new.study)
    run_id = _optimum_run(tracking, experiment_id)
    logged = client.create_logged_model(experiment_id, name=new.name, source_run_id=run_id, tags=dict(new.tags))
    _save(new, folder, Model(run_id=run_id, model_id=logged.model_id, artifact_path=logged.artifact_location))
    client.log_model_artifacts(logged.model_id, str(folder / "model"))
    client.finalize_logged_model(logged.model_id, "READY")
    if not client.search_registered_models(f"name = '{new.name}'"):
        client.create_registered_model(new.name)
    made = client.create_model_version(
        new.name,
        f"models:/{logged.model_id}",
        run_id,
        tags=dict(new.tags),
        description=new.card,
        model_id=logged.model_id,
    )
    client.set_registered_model_alias(new.name, CHAMPION, made.version)
    return made


def _save(new: NewModel, folder: Path, metadata: Model) -> None:
    """Write the model as MLflow wants it into `folder/model`."""
    side = new.input_example.shape[1]
    (folder / "card.md").write_text(new.card, "utf-8")
    (folder / "recipe.json").write_text(new.recipe_json, "utf-8")
    shutil.copy(new.network, folder / "network.keras")
    names = {"network": "network.keras", "card": "card.md", "recipe": "recipe.json"}
    mlflow.pyfunc.save_model(
        folder / "model",
        mlflow_model=metadata,
        python_model=str(Path(__file__).with_name("serving.py")),
        artifacts={name: str(folder / file) for name, file in names.items()},
        signature=ModelSignature(
            inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, side, side))]),
            outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 2))]),
        ),
        input_example=new.input_example,
        pip_requirements=[f"{package}=={version(package)}" for package in _REQUIRED],
    )


def _optimum_run(tracking: Tracking, experiment_id: str) -> str | None:
    """The run of the current optimum, to which a model belongs; None where the study is not recorded."""
    found = tracking.client.search_runs(
        [experiment_id], "tags.`bonehpo.level` = 'optimum' and tags.`bonehpo.optimum` = 'true'", max_results=1
    )
    return found[0].info.run_id if found else None


@contextmanager
def _as_default(tracking: Tracking) -> Iterator[None]:
    """Make a backend MLflow's default meanwhile: parts of the registry ask no client, but the default."""
    former = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(tracking.uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(former)
