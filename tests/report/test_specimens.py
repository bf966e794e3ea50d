"""Renderings of small volumes, and what `bonehpo inspect` says and draws of specimens."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from click.testing import CliRunner
from data_makers import bone_like, write_scans, write_table
from PIL import Image

from bonehpo.cli import main
from bonehpo.config import StudyFolder
from bonehpo.domain import ignore_progress
from bonehpo.engine import InProcess
from bonehpo.phantom import PhantomSpec, write_phantom
from bonehpo.preparation.prepare import prepare
from bonehpo.report.figures.scans import BACKGROUND, render, specimens_figure, stress_strain_figure
from bonehpo.results.result import load_result
from bonehpo.results.specimens import COLUMNS, specimens_result
from bonehpo.store.recipe import Steps
from bonehpo.workflow.kinds import RESULT_KINDS

SIDE_PX = 120


def ball(radius=12.0, side=32):
    place = np.indices((side,) * 3) - (side - 1) / 2
    return np.where((place**2).sum(axis=0) < radius**2, 200, 0).astype(np.uint8)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Five phantoms in three states, in the study folder TB."""
    folder = tmp_path_factory.mktemp("specimens")
    spec = PhantomSpec(bone="TB", side=32, n_states=3, specimens=tuple("ABCDE"))
    csv = write_phantom(spec, folder / "phantom", InProcess(), ignore_progress)
    return prepare(csv, folder / "TB" / "slices.zarr", Steps(n_slices=4), InProcess())


def prepared(csv, folder):
    return prepare(csv, folder / "TB" / "slices.zarr", Steps(n_slices=2), InProcess())


def test_a_ball_is_a_disc_of_its_own_size_lit_from_one_side_whichever_way_it_is_turned():
    for azimuth in (0, 33, 120):
        image = render(ball(), 100, SIDE_PX, azimuth_deg=azimuth)
        disc = image < 0.97
        rows, columns = np.nonzero(disc)
        assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)
        assert disc.sum() == pytest.approx(np.pi / 4 * np.ptp(rows) * np.ptp(columns), rel=0.06)
        middle = SIDE_PX // 2
        assert (rows.mean(), columns.mean()) == pytest.approx((middle, middle), abs=1.5)
        assert image[middle - 15, middle - 15] > 2 * image[middle + 15, middle + 15], (
            "the light is over the left shoulder"
        )


def test_up_in_the_volume_is_up_in_the_picture_and_what_is_in_front_hides_what_is_behind():
    volume = np.zeros((32, 32, 32), np.uint8)
    volume[24:, 12:20, 12:20] = 200
    rows, _ = np.nonzero(render(volume, 100, SIDE_PX) < 0.97)
    assert rows.mean() < SIDE_PX / 2 - 10
    alone = render(ball(6), 100, SIDE_PX, azimuth_deg=0, elevation_deg=0)
    hidden = ball(6)
    hidden[14:18, 30:, 14:18] = 200  # behind the ball, seen along y
    shown = ball(6)
    shown[14:18, :2, 14:18] = 200
    inside = np.s_[50:70, 50:70]
    near = {"azimuth_deg": 0, "elevation_deg": 0}
    relative = [
        np.abs(render(volume, 100, SIDE_PX, **near)[inside] - alone[inside]).mean() for volume in (hidden, shown)
    ]
    assert relative[0] < 0.02 < relative[1]


def test_where_a_volume_is_cut_off_the_cut_is_seen():
    image = render(np.full((24, 24, 24), 200, np.uint8), 100, SIDE_PX)
    top, left, right = image[38, 60], image[70, 45], image[75, 95]
    assert len({round(float(face), 1) for face in (top, left, right)}) == 3, (
        "three faces of a cube, each in its own light"
    )


def test_nothing_is_rendered_of_a_volume_without_bone():
    assert (render(np.zeros((9, 9, 9), np.uint8), 100, SIDE_PX) == BACKGROUND).all()


def test_every_specimen_is_drawn_pristine_and_failed(store, tmp_path):
    drawn = specimens_figure(store, tmp_path)
    images = ET.parse(drawn.svg).getroot().iter("{http://www.w3.org/2000/svg}image")
    assert len(list(images)) == 10
    with Image.open(drawn.png) as picture:
        levels = np.asarray(picture.convert("L"))
    assert len(np.unique(levels)) > 100
    assert (levels[:3] == 255).all(), "nothing is cut off at the edge"
    assert (levels[-3:] == 255).all()
    assert "phantom" in drawn.title
    assert "Phantom" in drawn.caption
    assert drawn.svg.stat().st_size < 1_000_000


def test_specimens_that_do_not_fit_side_by_side_go_below(store, tmp_path, monkeypatch):
    heights = {}
    for per_row in (5, 3):
        monkeypatch.setattr("bonehpo.report.figures.scans.PER_ROW", per_row)
        drawn = specimens_figure(store, tmp_path / str(per_row))
        assert sum(1 for _ in ET.parse(drawn.svg).iter("{http://www.w3.org/2000/svg}image")) == 10
        with Image.open(drawn.png) as picture:
            heights[per_row] = picture.height
    assert heights[3] == pytest.approx(2 * heights[5], abs=2)


def test_curves_are_drawn_of_specimens_whose_stress_is_known(store, tmp_path):
    assert "n = 5 specimens" in stress_strain_figure(store, tmp_path).caption
    csv = write_scans(tmp_path / "scans", states=(1, 2, 3))
    lines = csv.read_text().splitlines()
    csv.write_text(f"{lines[0]},stress_mpa\n" + "".join(f"{line},{i}\n" for i, line in enumerate(lines[1:4])))
    with csv.open("a") as handle:
        handle.writelines(f"{line},\n" for line in lines[4:])
    assert "n = 1 specimen." in stress_strain_figure(prepared(csv, tmp_path), tmp_path).caption


def test_without_stress_there_are_no_curves_and_without_volumes_no_renderings(tmp_path):
    assert stress_strain_figure(prepared(write_scans(tmp_path / "scans"), tmp_path), tmp_path / "figures") is None
    rows = []
    for i, specimen in enumerate("PQ"):
        for state in (1, 2):
            tifffile.imwrite(tmp_path / f"{specimen}{state}.tif", bone_like(20, 10 * i + state, "uint8")[3])
            path = f"{specimen}{state}.tif"
            rows.append({"specimen": specimen, "state": state, "plane": "ML", "position": 0, "path": path})
    sections = prepared(write_table(tmp_path, rows), tmp_path / "2d")
    result = specimens_result(sections, "TB")
    drawn = RESULT_KINDS["specimens"].draw(result, StudyFolder(sections.path.parent))
    assert [figure.name for figure in drawn] == ["middle-slices"]
    assert "of the slices" in result.sentences[0]
    assert len(result.sentences) == 1
    assert set(result.metrics) == {"pristine_bone_volume_fraction", "pristine_porosity"}


def test_the_result_holds_every_measure_of_every_scan(store):
    result = specimens_result(store, "TB")
    table = result.tables["scans"]
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 15
    assert not table.isna().any().any()
    assert result.ran_on == "phantom"
    assert result.metrics["pristine_porosity"] == pytest.approx(
        np.mean([store.scan(specimen, 1).porosity for specimen in "ABCDE"])
    )


def inspect(folder: Path, *words: str) -> str:
    answer = CliRunner().invoke(main, ["inspect", "--study", str(folder), *words])
    assert answer.exit_code == 0, answer.output
    return answer.output


def test_inspect_prints_measures_and_leaves_a_result_with_figures(store):
    folder = store.path.parent
    data = json.loads(inspect(folder, "--json"))
    assert data["has_damage"]
    scan = data["scans"][2]
    assert scan["porosity"] == pytest.approx(1 - scan["bone_volume_fraction"])
    assert scan["trabecular_thickness_um"] == store.scan("A", 3).trabecular_thickness_um
    assert scan["damage_fraction"] > 0
    assert [Path(figure).name for figure in data["figures"]] == [
        "specimens.png",
        "stress-strain.png",
        "middle-slices.png",
    ]
    assert all(
        Path(figure).with_suffix(suffix).stat().st_size for figure in data["figures"] for suffix in (".png", ".svg")
    )
    assert len(pd.read_csv(data["table"])) == 15
    result = load_result(StudyFolder(folder), "specimens")
    assert result.store_id == store.id
    text = inspect(folder)
    assert "Tb.Th (µm)" in text
    assert load_result(StudyFolder(folder), "specimens").finished == result.finished, "made once from the same store"
