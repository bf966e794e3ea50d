"""Slices beside their heat maps, as MLflow steps through them."""

import numpy as np
import pandas as pd
from made_up_results import made
from tracked import STUDY, new_project

from bonehpo.config import StudyFolder
from bonehpo.results.result import result_record, save_result
from bonehpo.tracking.database import open_tracking
from bonehpo.tracking.runs import MlflowRecorder

ROWS = pd.DataFrame(
    {"panel": "states", "specimen": "TB|5", "plane": "XY", "position": 3, "state": [1, 2], "p_failed": [0.1, 0.9]}
)
ARRAYS = {
    "slices": np.full((2, 4, 4), 10, np.uint8),
    "maps": np.stack([np.zeros((4, 4), np.float32), np.ones((4, 4), np.float32)]),
}


def test_every_explained_slice_is_an_image_of_its_run_with_the_load_state_as_step(tmp_path):
    folder = StudyFolder(tmp_path / "TB")
    save_result(made(tables={"slices": ROWS}, arrays=ARRAYS), folder)
    record = result_record(made(tables={"slices": ROWS}, arrays=ARRAYS), folder)
    assert [image.step for image in record.images] == [1, 2]
    assert [image.pixels[:, 4:].mean() for image in record.images] == [0, 255]
    assert all((image.pixels[:, :4] == 10).all() for image in record.images)

    tracking = open_tracking(new_project(tmp_path / "project"))
    recorder = MlflowRecorder(tracking)
    recorder.study(STUDY)
    recorder.result(record)
    recorder.close()
    assert not recorder.is_off
    experiment = tracking.client.get_experiment_by_name("bonehpo/TB")
    runs = tracking.client.search_runs([experiment.experiment_id], "tags.`bonehpo.level` = 'comparison'")
    names = [file.path for file in tracking.client.list_artifacts(runs[0].info.run_id, "images")]
    for step in (1, 2):
        assert any(
            name.startswith(f"images/TB_7c5 XY 3 states+step+{step}+") and name.endswith(".png") for name in names
        )


def test_a_result_without_heat_maps_has_no_images(tmp_path):
    folder = StudyFolder(tmp_path / "TB")
    save_result(made(), folder)
    assert result_record(made(), folder).images == ()
