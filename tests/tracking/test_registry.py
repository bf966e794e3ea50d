import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tracked import new_project, record_study

from bonehpo.errors import TrackingError
from bonehpo.tracking import registry
from bonehpo.tracking.database import Tracking, open_tracking
from bonehpo.tracking.registry import NewModel, load_registered, register_champion
from bonehpo.tracking.runs import MlflowRecorder

SIDE = 16
IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE), np.uint8)


@pytest.fixture(scope="module")
def network(tmp_path_factory) -> Path:
    """A network as bonehpo saves them: intensity uint8 (batch, side, side, 1) in, softmax out."""
    import keras

    keras.utils.set_random_seed(1)
    layers = [
        keras.Input((SIDE, SIDE, 1), dtype="uint8"),
        keras.layers.Rescaling(1 / 255),
        keras.layers.Flatten(),
        keras.layers.Dense(2, activation="softmax"),
    ]
    path = tmp_path_factory.mktemp("network") / "best.keras"
    keras.Sequential(layers).save(path)
    return path


@pytest.fixture(scope="module")
def new(network) -> NewModel:
    return NewModel(
        name="bonehpo-TB",
        study="TB",
        network=network,
        recipe_json='{"side": 16}',
        card="# bonehpo-TB\n\nRan on phantoms.",
        tags={"bonehpo.store_id": "ab" * 32},
        input_example=IMAGES[:1],
    )


@pytest.fixture(scope="module")
def promoted(tmp_path_factory, new) -> Tracking:
    tracking = open_tracking(new_project(tmp_path_factory.mktemp("registry") / "project"))
    record_study(MlflowRecorder(tracking))
    made = register_champion(tracking, new)
    assert (made.name, made.version, made.uri) == ("bonehpo-TB", 1, "models:/bonehpo-TB@champion")
    return tracking


def softmax_of(network: Path) -> np.ndarray:
    import keras

    return keras.saving.load_model(network)(IMAGES[..., None]).numpy()


def test_the_champion_answers_as_its_network_does(promoted, new):
    champion = load_registered(promoted, "bonehpo-TB")
    answer = champion.predict(IMAGES)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, softmax_of(new.network), atol=1e-6)
    assert (champion.version, champion.side) == (1, SIDE)
    assert champion.recipe_json == new.recipe_json
    assert champion.card == new.card


def test_a_version_says_what_it_is(promoted, new):
    version = promoted.client.get_model_version_by_alias("bonehpo-TB", "champion")
    assert version.description == new.card
    assert version.tags["bonehpo.store_id"] == "ab" * 32
    run = promoted.client.get_run(version.run_id)
    assert run.data.tags["bonehpo.level"] == "optimum"
    folder = Path(promoted.client.get_logged_model(version.source.removeprefix("models:/")).artifact_location)
    described = (folder / "MLmodel").read_text()
    assert '"dtype": "uint8", "shape": [-1, 16,' in described
    assert '"dtype": "float32", "shape": [-1' in described
    assert np.array_equal(np.array(json.loads((folder / "input_example.json").read_text())), IMAGES[:1])
    packages = {line.split("==")[0] for line in (folder / "requirements.txt").read_text().split()}
    assert packages == {"mlflow", "keras", "tensorflow", "numpy"}
    assert not list(folder.rglob("*.pkl"))


def test_without_a_champion_the_command_that_makes_one_is_named(tmp_path):
    tracking = open_tracking(new_project(tmp_path / "project"))
    with pytest.raises(TrackingError, match=r"run `bonehpo promote` for the study of CB first"):
        load_registered(tracking, "bonehpo-CB")


def test_a_failed_promotion_leaves_the_former_champion(promoted, new, tmp_path, monkeypatch):
    with pytest.raises(TrackingError, match="the former champion stays"):
        register_champion(promoted, replace(new, network=tmp_path / "lost.keras"))

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(promoted.client, "set_registered_model_alias", crash)
        with pytest.raises(KeyboardInterrupt):
            register_champion(promoted, replace(new, recipe_json="{}"))
    assert load_registered(promoted, "bonehpo-TB").version == 1
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_a_second_promotion_moves_the_alias(promoted, new):
    former = load_registered(promoted, "bonehpo-TB").version
    made = register_champion(promoted, replace(new, recipe_json='{"side": 16, "second": true}'))
    champion = load_registered(promoted, "bonehpo-TB")
    assert champion.version == made.version > former
    assert "second" in champion.recipe_json


def test_lost_model_files_are_told_in_one_line(tmp_path, new):
    tracking = open_tracking(new_project(tmp_path / "project"))
    register_champion(tracking, new)
    next(tracking.artifacts.rglob("MLmodel")).unlink()
    with pytest.raises(TrackingError, match="bonehpo-TB version 1 cannot be read") as refusal:
        load_registered(tracking, "bonehpo-TB")
    assert len(str(refusal.value).splitlines()) == 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(address: str, process: subprocess.Popen) -> None:
    for _ in range(300):
        assert process.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(f"{address}/ping", timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(address)


def ask(port: int, images: np.ndarray) -> list[list[float]]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps({"inputs": images.tolist()}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["predictions"]


def test_mlflow_serves_the_champion_over_http_without_bonehpo(promoted, new, tmp_path):
    (tmp_path / "bonehpo.py").write_text("raise ImportError('a server has no bonehpo')")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "--workers", "1"]
    command += ["--model-uri", "models:/bonehpo-TB@champion", "--port", str(port)]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # MLflow calls uvicorn by its name
    environment = os.environ | {"MLFLOW_TRACKING_URI": promoted.uri, "PYTHONPATH": str(tmp_path), "PATH": path}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            command, env=environment, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        try:
            wait_for(f"http://127.0.0.1:{port}", process)
            answer = ask(port, IMAGES)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    np.testing.assert_allclose(answer, softmax_of(new.network), atol=1e-6)


def test_the_shipped_code_is_the_file_of_this_package(promoted):
    shipped = next(promoted.artifacts.rglob("serving.py"))
    assert shipped.read_bytes() == Path(registry.__file__).with_name("serving.py").read_bytes()
