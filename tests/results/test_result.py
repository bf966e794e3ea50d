"""Results on disk come back as they were saved, and are never half there."""

import math

import numpy as np
import pandas as pd
from made_up_results import made

from bonehpo.config import StudyFolder
from bonehpo.results.result import HEAD, address_of, is_made, load_result, save_result


def test_a_result_is_read_as_it_was_saved(tmp_path):
    folder = StudyFolder(tmp_path)
    save_result(made(), folder)
    found = load_result(folder, "sweep")
    pd.testing.assert_frame_equal(found.tables["points"], made().tables["points"])
    np.testing.assert_array_equal(found.arrays["slices"], made().arrays["slices"])
    assert math.isnan(found.metrics["missing"])
    plain = ("name", "level", "inputs", "study", "bone", "store_id", "ran_on", "parameters", "sentences", "finished")
    assert all(getattr(found, name) == getattr(made(), name) for name in plain)


def test_a_result_replaces_the_last_one_of_its_name_with_all_its_files(tmp_path):
    folder = StudyFolder(tmp_path)
    place = save_result(made(), folder)
    (place / "old-figure.png").write_bytes(b"")
    save_result(made(inputs="ef"), folder)
    assert is_made(folder, "sweep", "ef")
    assert not is_made(folder, "sweep", "ab")
    assert not (place / "old-figure.png").exists()
    assert [path.name for path in folder.results.iterdir()] == ["sweep"]


def test_a_damaged_result_is_no_result(tmp_path, caplog):
    folder = StudyFolder(tmp_path)
    (save_result(made(), folder) / HEAD).write_text("{", encoding="utf-8")
    assert load_result(folder, "sweep") is None
    assert "will be made again" in caplog.text
    assert load_result(folder, "compare") is None


def test_equal_inputs_have_equal_addresses_and_others_another():
    assert address_of("a", {"x": 1, "y": 2}) == address_of("a", {"y": 2, "x": 1})
    assert address_of("a") != address_of("b")
