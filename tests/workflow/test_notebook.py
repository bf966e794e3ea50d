"""A study in a real Jupyter kernel: searched on a worker, read as tables, with nothing printed that was not asked for."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client import BlockingKernelClient, KernelManager
from places import PROJECT
from tiny_study import TOML, make_study
from tracked import new_project

PATIENCE_S = 240


@pytest.fixture
def kernel(tmp_path) -> Iterator[BlockingKernelClient]:
    """A kernel in a project with a study that has not begun."""
    root = new_project(tmp_path / "project")
    make_study(root, TOML.replace("epochs = 3", "epochs = 1"))
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(root), env=os.environ | {"PYTHONPATH": str(PROJECT)})
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=PATIENCE_S)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def run(client: BlockingKernelClient, cell: str) -> list[dict[str, Any]]:
    """What a cell shows: the contents of its outputs."""
    outputs = []

    def show(message: dict[str, Any]) -> None:
        if message["msg_type"] in ("stream", "display_data", "execute_result", "error"):
            outputs.append(message["content"])

    reply = client.execute_interactive(cell, output_hook=show, timeout=PATIENCE_S)
    assert reply["content"]["status"] == "ok", outputs
    return outputs


@pytest.mark.torture
def test_a_notebook_searches_and_reads_a_study(kernel):
    assert run(kernel, "import bonehpo\nstudy = bonehpo.Study('studies/TB')") == []
    assert run(kernel, "outcome = study.search(n_trials=1, workers=1)") == []
    (shown,) = run(kernel, "outcome")
    assert "n_complete=1" in shown["data"]["text/plain"]
    (table,) = run(kernel, "study.trials")
    assert "mean_accuracy" in table["data"]["text/html"]
    (told,) = run(kernel, "study.search(1, workers=0, progress=lambda at: print(at.done, at.total, at.task)); None")
    assert told["name"] == "stdout"
    assert told["text"].splitlines()[-1].endswith("search")
    (results,) = run(kernel, "study.results")
    assert results["data"]["text/plain"] == "<results of TB: leakage, audit>"


def test_an_error_in_a_notebook_is_one_line_that_can_be_caught(kernel):
    cell = "import bonehpo\ntry: bonehpo.Study('studies/XX').store\nexcept bonehpo.BonehpoError as error: print(error)"
    (told,) = run(kernel, cell)
    assert "studies/XX/slices.zarr: no slice store; make one with" in told["text"]
    assert len(told["text"].splitlines()) == 1
