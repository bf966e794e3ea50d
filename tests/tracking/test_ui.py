import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from tracked import SETS, STUDY, fold, new_project, record_study, summary, trial

from bonehpo.errors import TrackingError
from bonehpo.tracking.database import open_tracking
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


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    root = new_project(tmp_path_factory.mktemp("ui") / "project")
    record_study(MlflowRecorder(open_tracking(root)))
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


def test_the_first_link_shows_a_row_for_each_trial_the_best_first(server, browser):
    first, second = server.pages
    assert (first.what, second.what) == ("Trials of TB", "Trials and folds of TB")
    text = opened(browser, first.address, "matching runs", "trial 0", "trial 1")
    assert "2 matching runs" in text
    assert "test TB9" not in text
    assert "optimum" not in text


def test_the_second_link_folds_the_folds_out_under_their_trial(server, browser):
    opened(browser, server.pages[1].address, "trial 0", "trial 1")
    button = "//*[@role='row']//a[normalize-space()='trial 1']/ancestor::*[@role='gridcell']//button"
    WebDriverWait(browser, 30).until(lambda driver: driver.find_elements(By.XPATH, button))[0].click()
    assert "optimum" not in text_with(browser, "test TB9 | validation TB5")


def test_a_fold_shows_its_curves(server, browser):
    client = open_tracking(server.root).client
    (run, *_) = client.search_runs(["1"], "tags.`bonehpo.level` = 'fold'")
    browser.get(f"{server.address}/#/experiments/1/runs/{run.info.run_id}")
    text_with(browser, "bonehpo.level", "phantom", "trial")
    browser.get(f"{server.address}/#/experiments/1/runs/{run.info.run_id}/model-metrics")
    text_with(browser, "epoch\n(6)", "train_loss", "validation_accuracy", "plane\n(3)")


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
