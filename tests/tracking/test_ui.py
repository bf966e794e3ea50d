import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from tracked import SETS, STUDY, fold, new_project, record_study, summary, trial

from bonehpo.errors import TrackingError
from bonehpo.search.recorder import ResultRecord, StepImage
from bonehpo.tracking.database import open_tracking
from bonehpo.tracking.registry import NewModel, register_champion
from bonehpo.tracking.runs import MlflowRecorder, recorder_for
from bonehpo.tracking.ui import serve_ui
from bonehpo.tracking.views import Link

WINDOW = "1600,1400"
"""Of the browser, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Server:
    pages: list[Link]
    address: str
    process: multiprocessing.Process
    root: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(root: Path, port: int, ready: Connection) -> None:
    serve_ui(open_tracking(root), port, ready.send, ["TB"])


def start(root: Path) -> Server:
    here, ready = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(root, free_port(), ready))
    process.start()
    assert here.poll(90)
    pages = here.recv()
    return Server(pages=pages, address=pages[0].address.partition("/#")[0], process=process, root=root)


def record_states(recorder: MlflowRecorder) -> None:
    """An explanation with a picture of each of three load states."""
    images = [StepImage(series="TB5 XY", step=n, pixels=np.full((8, 16), 60 * n, np.uint8)) for n in (1, 2, 3)]
    recorder.study(STUDY)
    recorder.result(
        ResultRecord(
            level="explanation",
            name="detection",
            inputs="ab",
            parameters={},
            metrics={},
            images=images,
            finished=STUDY.started,
        )
    )
    recorder.close()


def promote_a_network(root: Path, network: Path) -> None:
    import keras

    keras.Sequential([keras.Input((16, 16, 1), dtype="uint8"), keras.layers.Flatten(), keras.layers.Dense(2)]).save(
        network
    )
    champion = NewModel(
        name="bonehpo-TB",
        study="TB",
        network=network,
        recipe_json="{}",
        card="# bonehpo-TB\n\nRan on phantoms.",
        tags={"bonehpo.store_id": STUDY.store_id},
        input_example=np.zeros((1, 16, 16), np.uint8),
    )
    register_champion(open_tracking(root), champion)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    root = new_project(tmp_path_factory.mktemp("ui") / "project")
    record_study(MlflowRecorder(open_tracking(root)), n_trials=6)
    record_states(MlflowRecorder(open_tracking(root)))
    promote_a_network(root, tmp_path_factory.mktemp("network") / "best.keras")
    started = start(root)
    yield started
    children = psutil.Process(started.process.pid).children(recursive=True)
    assert children
    os.kill(started.process.pid, signal.SIGTERM)
    started.process.join(30)
    assert started.process.exitcode == 0
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def text_with(browser: webdriver.Chrome, *words: str) -> str:
    """The text of the page as soon as it holds all of these words."""

    def whole(driver: webdriver.Chrome) -> str | None:
        text = driver.find_element(By.TAG_NAME, "body").text
        return text if all(word in text for word in words) else None

    return WebDriverWait(browser, 30).until(whole)


def opened(browser: webdriver.Chrome, address: str, *words: str) -> str:
    """The text of a page that is opened anew, as soon as it holds all of these words."""
    browser.get("about:blank")  # else a changed fragment is no new page
    browser.get(address)
    return text_with(browser, *words)


def found(browser: webdriver.Chrome, xpath: str) -> list[WebElement]:
    """The elements with this XPath that can be seen, as soon as there are some."""

    def shown(driver: webdriver.Chrome) -> list[WebElement]:
        return [element for element in driver.find_elements(By.XPATH, xpath) if element.is_displayed()]

    return WebDriverWait(browser, 30).until(shown)


def run_of(server: Server, level: str) -> str:
    """Address of the first run of a level."""
    (run, *_) = open_tracking(server.root).client.search_runs(["1"], f"tags.`bonehpo.level` = '{level}'")
    return f"{server.address}/#/experiments/1/runs/{run.info.run_id}"


def test_a_first_visit_opens_for_model_training_whatever_the_page(server, browser):
    browser.get(f"{server.address}/favicon.ico")
    browser.execute_script("localStorage.clear()")
    text = opened(browser, run_of(server, "trial"), "Model metrics", "mean_accuracy", "About this run")
    assert browser.execute_script("return localStorage['mlflow.workflowType_v1']") == '"machine_learning"'
    assert "Model registry" in text
    assert "Prompts" not in text
    assert "Assistant" not in text


def test_what_somebody_chose_is_left_to_them(server, browser):
    browser.get(f"{server.address}/favicon.ico")
    browser.execute_script("localStorage['mlflow.workflowType_v1'] = '\"genai\"'")
    opened(browser, f"{server.address}/#/", "GenAI")
    assert browser.execute_script("return localStorage['mlflow.workflowType_v1']") == '"genai"'
    browser.execute_script("localStorage.clear()")


def test_the_first_link_shows_a_row_for_each_trial_the_best_first(server, browser):
    first, second = server.pages
    assert (first.what, second.what) == ("Trials of TB", "Trials and folds of TB")
    text = opened(browser, first.address, "matching runs", "trial 0", "trial 1")
    assert "6 matching runs" in text
    assert "test TB9" not in text
    assert "optimum" not in text
    names = [link.text for link in found(browser, "//*[@role='row']//a[starts-with(normalize-space(), 'trial ')]")]
    assert sorted(names[:2]) == ["trial 0", "trial 1"]
    assert sorted(names[4:]) == ["trial 4", "trial 5"]
    assert f"TB slices ({STUDY.store_id[:8]})" in text


def test_five_trials_are_compared_by_parallel_coordinates_and_box_plot(server, browser):
    opened(browser, server.pages[0].address, "6 matching runs", "trial 5")
    for link in found(browser, "//*[@role='row']//a[starts-with(normalize-space(), 'trial ')]")[:5]:
        row = link.find_element(By.XPATH, "ancestor::*[@role='row']").get_attribute("row-id")
        box = f"//*[@role='row'][@row-id='{row}']//*[contains(@class, 'ag-checkbox-input-wrapper')]"
        found(browser, box)[0].click()
    found(browser, "//button[normalize-space()='Compare']")[0].click()
    text_with(browser, "Comparing 5 Runs from 1 Experiment", "Parallel Coordinates Plot")
    assert found(browser, "//*[name()='svg']//*[name()='text'][.='layers']")
    assert found(browser, "//*[name()='svg']//*[name()='text'][.='mean_accuracy']")
    found(browser, "//*[@role='tab'][normalize-space()='Box Plot']")[0].click()
    for axis, name in (("X-axis:", "layers"), ("Y-axis:", "mean_accuracy")):
        found(browser, f"//label[normalize-space()='{axis}']/following::*[@role='combobox'][1]")[0].click()
        found(browser, f"//*[@role='option'][normalize-space()='{name}']")[0].click()
    boxes = "//*[name()='g'][contains(@class, 'boxlayer')]//*[name()='path'][contains(@class, 'box')]"
    assert len(found(browser, boxes)) == 5


def test_the_second_link_folds_the_folds_out_under_their_trial(server, browser):
    opened(browser, server.pages[1].address, "trial 0", "trial 1")
    button = "//*[@role='row']//a[normalize-space()='trial 1']/ancestor::*[@role='gridcell']//button"
    found(browser, button)[0].click()
    assert "optimum" not in text_with(browser, "test TB9 | validation TB5")


def test_a_fold_shows_its_curves(server, browser):
    opened(browser, run_of(server, "fold"), "bonehpo.level", "phantom", "trial")
    opened(browser, run_of(server, "fold") + "/model-metrics", "epoch\n(6)", "train_loss", "validation_accuracy")
    lines = "//*[name()='g'][contains(@class, 'scatterlayer')]//*[name()='path'][contains(@class, 'js-line')]"
    assert found(browser, lines)


def test_heat_maps_are_stepped_by_load_state(server, browser):
    opened(browser, run_of(server, "explanation") + "/model-metrics", "TB5 XY")
    picture = "//img[contains(@src, 'get-artifact')]"
    (slider,) = found(browser, "//*[@role='slider']")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
    seen = [found(browser, picture)[0].get_attribute("src")]
    for state in (1, 2, 3):
        slider.send_keys(Keys.ARROW_RIGHT)
        WebDriverWait(browser, 30).until(lambda _, now=state: slider.get_attribute("aria-valuenow") == str(now))
        WebDriverWait(browser, 30).until(
            lambda driver, now=state: (
                f"%2Bstep%2B{now}%2B" in driver.find_element(By.XPATH, picture).get_attribute("src")
            )
        )
        seen.append(found(browser, picture)[0].get_attribute("src"))
    assert len(set(seen)) == 4


def test_the_registered_model_leads_to_the_run_that_it_is_from(server, browser):
    text = opened(browser, f"{server.address}/#/models/bonehpo-TB/versions/1", "champion", "Ran on phantoms.")
    assert "optimum: trial 1" in text
    found(browser, "//a[normalize-space()='optimum: trial 1']")[0].click()
    text_with(browser, "bonehpo-TB", "apparent_accuracy", "nested_accuracy")


def test_a_search_records_on_a_tracking_server_and_writes_no_local_files(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    recorder = recorder_for(tmp_path)
    recorder.study(replace(STUDY, name="elsewhere"))
    recorder.trial_started(trial(0))
    recorder.fold(0, fold(0, *SETS[:2]))
    recorder.trial_finished(0, summary(0))
    recorder.close()
    assert not recorder.is_off
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    client = open_tracking(server.root).client
    experiment = client.get_experiment_by_name("bonehpo/elsewhere")
    assert len(client.search_runs([experiment.experiment_id])) == 3


def test_a_tracking_server_is_left_to_show_itself(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    pages: list[Link] = []
    serve_ui(open_tracking(tmp_path), free_port(), pages.extend, ["TB"])
    assert pages == server.pages


def test_a_port_in_use_is_refused_with_the_option_that_changes_it(tmp_path):
    tracking = open_tracking(new_project(tmp_path / "project"))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(TrackingError, match=r"in use.*--port") as refusal:
            serve_ui(tracking, other.getsockname()[1], list)
    assert len(str(refusal.value).splitlines()) == 1


def test_ctrl_c_ends_the_server_and_its_workers(tmp_path):
    tracking = open_tracking(new_project(tmp_path / "project"))
    seen: list[psutil.Process] = []

    def interrupt(_pages: Sequence[Link]) -> None:
        children = psutil.Process().children(recursive=True)
        seen.extend(child for child in children if tracking.uri in " ".join(child.cmdline()))
        seen.extend(grandchild for child in list(seen) for grandchild in child.children())
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()

    serve_ui(tracking, free_port(), interrupt)
    assert len(seen) == 2
    assert not [child for child in seen if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
