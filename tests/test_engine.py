"""The same behaviour from every engine; a cluster survives its workers."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from multiprocessing import spawn
from pathlib import Path

import dask
import pytest
from distributed import LocalCluster

from bonehpo import engine as engine_module
from bonehpo.engine import DeadlinePassed, open_engine
from bonehpo.errors import EngineError


@contextlib.contextmanager
def remote():
    """An engine on a scheduler that somebody else started."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0") as cluster,
        open_engine(scheduler=cluster.scheduler_address) as engine,
    ):
        yield engine


ENGINES = {"in process": lambda: open_engine(0), "local cluster": lambda: open_engine(2), "remote": remote}


@pytest.fixture(scope="module", params=ENGINES, ids=str)
def engine(request):
    with ENGINES[request.param]() as opened:
        yield opened


@pytest.fixture(scope="module")
def cluster():
    with open_engine(2) as opened:
        yield opened


def square(number):
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * number


def nap(seconds):
    time.sleep(seconds)
    return os.getpid()


def die_once(mark: Path):
    """Kill this worker at the first attempt."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def die(_):
    os.kill(os.getpid(), signal.SIGKILL)


def environment(name):
    return os.environ.get(name)


def test_every_task_has_its_outcome(engine):
    outcomes = list(engine.run(square, [3, 1, 2]))
    assert {outcome.task: outcome.result() for outcome in outcomes} == {3: 9, 1: 1, 2: 4}


def test_an_error_is_the_outcome_of_its_task_alone(engine):
    found = {outcome.task: outcome for outcome in engine.run(square, [-1, 2])}
    assert found[2].result() == 4
    with pytest.raises(ValueError, match="-1 is negative"):
        found[-1].result()


def test_no_tasks_have_no_outcomes(engine):
    assert list(engine.run(square, [])) == []


def test_a_deadline_ends_the_wait(engine):
    started = time.monotonic()
    with pytest.raises(DeadlinePassed):
        list(engine.run(nap, [0.2] * 100, deadline=started + 0.5))
    assert time.monotonic() - started < 5
    assert [outcome.result() for outcome in engine.run(square, [5])] == [25]


def test_a_worker_that_is_killed_has_its_task_rerun(cluster, tmp_path):
    (outcome,) = cluster.run(die_once, [tmp_path / "mark"])
    assert outcome.result() == "done"


def test_a_task_that_kills_every_worker_ends_with_an_error_that_says_so(cluster):
    (outcome,) = cluster.run(die, [0])
    with pytest.raises(EngineError, match="workers died at each of 3 attempts, most likely out of memory"):
        outcome.result()


LONG = [pytest.param(n, marks=pytest.mark.torture) for n in (1, 3)]


@pytest.mark.parametrize("n_tasks", [2, *LONG])
def test_workers_that_die_together_are_no_fault_of_their_tasks(cluster, tmp_path, n_tasks):
    """The scheduler, which is in this process, learns of one death after the other when it goes on."""
    workers = set()
    while len(workers) < 2:  # one may be new, after the test before
        workers = {outcome.result() for outcome in cluster.run(nap, [0.2] * 4)}
    killed = " ".join(map(str, workers))
    script = f"sleep 1; kill -STOP {os.getpid()}; kill -KILL {killed}; sleep 1; kill -CONT {os.getpid()}"
    with subprocess.Popen(["bash", "-c", script]):
        outcomes = list(cluster.run(nap, [2] * n_tasks))
    assert len(outcomes) == n_tasks
    assert not {outcome.result() for outcome in outcomes} & workers


def test_workers_that_dask_gives_up_are_started_again(monkeypatch):
    monkeypatch.setattr(engine_module, "WORKERS_CHECKED_EVERY_S", 1.0)
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "0.5s"}), open_engine(1) as engine:
        (first,) = engine.run(nap, [0])
        os.kill(first.result(), signal.SIGKILL)  # to start again takes longer than that
        (second,) = engine.run(nap, [0], deadline=time.monotonic() + 60)
        assert second.result() != first.result()


def test_a_worker_has_one_thread_and_leaves_ctrl_c_to_its_driver(cluster):
    (outcome,) = cluster.run(environment, ["TF_NUM_INTRAOP_THREADS"])
    assert outcome.result() == "1"
    (outcome,) = cluster.run(signal.getsignal, [signal.SIGINT])
    assert outcome.result() == signal.SIG_IGN


def test_workers_alone_are_not_told_of_the_main_module(cluster, monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)  # xdist's has none
    assert list(cluster.run(square, [1])), "it is open"
    told, of_a_worker = (spawn.get_preparation_data(name) for name in ("SpawnProcess-1", "Dask Worker process (1)"))
    assert of_a_worker.keys() < told.keys()
    assert {key.rpartition("_")[0] for key in told.keys() - of_a_worker.keys()} == {"init_main_from"}


def test_closing_the_engine_ends_its_workers():
    with open_engine(1) as engine:
        (outcome,) = engine.run(nap, [0])
        pid = outcome.result()
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.1)
    assert not Path(f"/proc/{pid}").exists()


def test_a_scheduler_that_does_not_answer_is_refused_by_address():
    with (
        pytest.raises(EngineError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9"),
        open_engine(scheduler="tcp://127.0.0.1:9"),
    ):
        raise AssertionError("opened")
