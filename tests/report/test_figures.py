from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import made_up_results as made_up
import pytest
from made_up_results import draw
from made_up_study import learnt
from PIL import Image
from tiny_study import make_study

from bonehpo.analysis.detection import detection_limits, mean_by_state
from bonehpo.learning.backbones import BACKBONES
from bonehpo.report.figures import middle_slices_figure
from bonehpo.report.figures.best_fold import network_boxes
from bonehpo.report.figures.detection import detection_figure
from bonehpo.report.figures.heat_maps import classes_figure
from bonehpo.report.figures.studies import importance_figure, learning_curves_figure
from bonehpo.report.figures.style import RC, SERIES
from bonehpo.results.compare import compare_name
from bonehpo.results.result import Drawn, Result
from bonehpo.store.store import SliceStore
from bonehpo.workflow.kinds import RESULT_KINDS

WITH_PICTURES = ("grad-cam-classes", "grad-cam-states", "detection-slices", "ablation", "strain-maps")
WORLDS = {"phantom": made_up.PHANTOM, "scans": made_up.SCANS}


def text_of(drawn: Drawn) -> str:
    return f"{drawn.title} {drawn.caption}"


@pytest.fixture(scope="module")
def drawings(tmp_path_factory) -> dict[tuple[str, str], tuple[Drawn, ...]]:
    """All figures of both made-up studies, by study and result."""
    folder = tmp_path_factory.mktemp("figures")
    return {
        (label, name): draw(make(world), folder / label)
        for label, world in WORLDS.items()
        for name, make in made_up.MAKERS.items()
        if not RESULT_KINDS[name].store_figures
    }


def test_every_result_is_drawn_by_its_own_figures(drawings):
    expected = {
        "sweep": ["sweep"],
        "best-fold": ["architecture", "best-fold"],
        "grad-cam": ["grad-cam-classes", "grad-cam-states", "grad-cam-checks"],
        "detection": ["detection-best-fold", "detection", "detection-slices"],
        "audit": ["audit"],
        "by-plane": ["by-plane"],
        "calibration": ["calibration"],
        "mixed": ["mixed"],
        **{name: [name, f"{name}-detection"] for name in map(compare_name, BACKBONES.values())},
        "ablation": ["ablation"],
        "strain": ["strain", "strain-maps"],
    }
    for (_, name), found in drawings.items():
        assert [drawn.name for drawn in found] == expected.get(name, [])
        assert len(found) == len(RESULT_KINDS[name].figures)
        assert any(drawn.paper for drawn in found) == (RESULT_KINDS[name].paper is not None)


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_figures_of_a_comparison_name_its_backbone_and_no_other(drawings, backbone):
    for drawn in drawings["phantom", compare_name(backbone)]:
        text = f"{text_of(drawn)} {drawn.svg.read_text('utf-8')}"
        assert {other.label for other in BACKBONES.values() if other.label in text} == {backbone.label}


def test_a_comparison_of_version_0_1_is_one_with_resnet_50(tmp_path):
    result = made_up.compare()
    compared, _ = draw(replace(result, parameters={"epochs": "20"}), tmp_path)
    assert compared.title.startswith("The optimum and ResNet-50")


def test_every_figure_is_a_readable_png_and_a_modest_svg(drawings):
    for found in drawings.values():
        for drawn in found:
            assert drawn.png.stem == drawn.svg.stem == drawn.name
            with Image.open(drawn.png) as image:
                assert 700 < image.width < 2000
                assert len(image.convert("L").getcolors()) > 10
            assert ElementTree.parse(drawn.svg).getroot().tag.endswith("svg")
            assert drawn.svg.stat().st_size < (1_500_000 if drawn.name in WITH_PICTURES else 150_000)


def test_every_caption_says_how_many(drawings):
    for (_, name), found in drawings.items():
        for drawn in found:
            if drawn.name != "architecture":
                assert "n = " in drawn.caption, name


def test_every_caption_with_error_bars_or_bands_says_what_they_are(drawings):
    with_bars = ("sweep", "mixed", "compare", "strain", "grad-cam-checks")
    with_bands = ("detection", "compare-detection", "ablation")
    for found in drawings.values():
        for drawn in found:
            if drawn.name in with_bars:
                assert "standard deviation" in drawn.caption
            if drawn.name in with_bands:
                assert "95 % interval" in drawn.caption


def test_figures_of_phantoms_say_so_and_figures_of_scans_do_not(drawings):
    for (label, _), found in drawings.items():
        for drawn in found:
            assert ("hantom" in text_of(drawn)) == (label == "phantom")
            assert ("Phantom: the bone is synthetic" in drawn.caption) == (label == "phantom")


def test_the_same_result_gives_the_same_bytes(tmp_path):
    result = made_up.sweep()
    (first,), (second,) = draw(result, tmp_path / "a"), draw(result, tmp_path / "b")
    assert first.png.read_bytes() == second.png.read_bytes()
    assert first.svg.read_bytes() == second.svg.read_bytes()


def test_a_point_that_failed_is_named_with_its_reason(drawings):
    (scans,), (phantom,) = drawings["scans", "sweep"], drawings["phantom", "sweep"]
    assert "Crosses have no mean: learning rate 0.01 (the loss became NaN in 3 of 10 fits)" in scans.caption
    assert "Crosses" not in phantom.caption


def test_configurations_that_did_not_run_are_named_with_their_reason(drawings):
    compare, *_ = drawings["scans", "compare"]
    assert "frozen, specimen split (no pretrained weights)" in compare.caption
    (mixed,) = drawings["scans", "mixed"]
    assert "mixed, published (Table 1 names other specimens)" in mixed.caption


def test_the_detection_limit_stands_in_the_caption_on_both_axes_where_strain_is_known(drawings):
    _, phantom, _ = drawings["phantom", "detection"]
    _, scans, _ = drawings["scans", "detection"]
    limits = made_up.detection().tables["limits"]
    of_all = limits[limits["of"] == "all"].set_index("axis")["limit"]
    assert f"at state {of_all['state']:.1f} (95 % interval" in phantom.caption
    assert f"at {100 * of_all['strain']:.1f} % strain" in phantom.caption
    assert "strain" not in scans.caption


def test_a_limit_is_claimed_only_where_the_accuracy_falls(tmp_path):
    result = made_up.detection()
    states = result.tables["states"].assign(accuracy=lambda rows: rows["accuracy"].where(rows["state"] == 1, 0.9))
    tables = {**result.tables, "states": states, "mean": mean_by_state(states), "limits": detection_limits(states)}
    never = detection_figure(replace(result, tables=tables), tmp_path)
    assert "The accuracy is 0.75 or more at every loaded state: no limit is to be seen." in never.caption
    assert "no limit is to be seen" not in detection_figure(result, tmp_path).caption


def test_captions_say_what_was_chosen_by_its_test_output(drawings):
    captions = {drawn.name: drawn.caption for found in drawings.values() for drawn in found}
    assert "that the network is surest of" in captions["grad-cam-classes"]
    assert "surest of failure" in captions["grad-cam-states"]
    assert "best of all folds by its test accuracy" in captions["detection-best-fold"]
    assert "Being the best of many" in captions["best-fold"]


def test_a_limit_that_is_never_reached_is_said_and_drawn(tmp_path):
    result = made_up.detection(onset=1.6)
    _, drawn, _ = draw(result, tmp_path)
    assert "not reached (state); not reached (strain)" in drawn.caption


def test_states_that_are_seen_before_damage_are_hatched(drawings, tmp_path):
    _, drawn, _ = drawings["phantom", "detection"]
    assert "Hatched (state 3, 4)" in drawn.caption
    result = made_up.detection()
    states = made_up.states_table(made_up.PHANTOM, anomaly=False)
    tables = {**result.tables, "states": states, "mean": made_up.mean_by_state(states)}
    _, without, _ = draw(replace(result, tables=tables), tmp_path)
    assert "Hatched" not in without.caption


def test_true_damage_is_outlined_on_phantoms_alone(drawings):
    for label in WORLDS:
        classes, states, _ = drawings[label, "grad-cam"]
        for drawn in (classes, states):
            assert ("truly damaged" in drawn.caption) == (label == "phantom")


def test_outlines_change_the_picture(tmp_path):
    result = made_up.grad_cam()
    outlined = classes_figure(result, tmp_path / "with")
    arrays = {name: array for name, array in result.arrays.items() if name != "damage"}
    bare = classes_figure(replace(result, arrays=arrays), tmp_path / "without")
    assert outlined is not None
    assert bare is not None
    assert outlined.png.read_bytes() != bare.png.read_bytes()


def without_rows(result: Result, table: str) -> Result:
    return replace(result, tables={**result.tables, table: result.tables[table].iloc[:0]})


def test_figures_without_anything_to_show_are_left_out(tmp_path):
    assert [d.name for d in draw(without_rows(made_up.compare(), "states"), tmp_path)] == ["compare"]
    detection = made_up.detection()
    no_best = {**detection.tables, "states": detection.tables["states"].assign(best=False)}
    found = draw(without_rows(replace(detection, tables=no_best), "slices"), tmp_path)
    assert [d.name for d in found] == ["detection"]
    assert [d.name for d in draw(without_rows(made_up.grad_cam(), "slices"), tmp_path)] == ["grad-cam-checks"]
    assert [d.name for d in draw(without_rows(made_up.ablation(), "slices"), tmp_path)] == ["ablation"]


@pytest.mark.parametrize(("layers", "kernel", "total"), [(4, 5, "19,265,858"), (5, 3, "20,446,018"), (1, 11, None)])
def test_the_architecture_names_kernels_and_parameters_of_the_paper(tmp_path, layers, kernel, total):
    result = made_up.best_fold(layers=layers, kernel=kernel)
    boxes = list(network_boxes(result.tables["layers"]))
    assert [box.kind for box in boxes] == ["input", *["convolution", "max-pool"] * layers, "dense", "softmax"]
    assert [box.text for box in boxes if box.kind == "convolution"] == [f"{kernel}×{kernel}", *["3×3"] * (layers - 1)]
    assert boxes[0].channels == 3
    drawn, _ = draw(result, tmp_path)
    assert total is None or f"{total} trainable parameters" in drawn.caption
    assert f"{layers} convolution layer{'s' if layers > 1 else ''} with ReLU" in drawn.caption


def test_no_two_series_differ_in_colour_alone():
    assert len({look.marker for look in SERIES}) == len(SERIES)
    assert len({look.hatch for look in SERIES}) == len(SERIES)
    assert len({look.color for look in SERIES}) == len(SERIES)
    assert all(first.dash != second.dash for first, second in pairwise(SERIES))


def test_names_are_never_read_as_formulae(tmp_path):
    assert RC["text.parse_math"] is False
    world = replace(made_up.PHANTOM, specimens=("$\\frac{1$", "$x^2$", "a_b"))
    assert draw(made_up.best_fold(world), tmp_path)


@pytest.mark.parametrize(("n_folds", "task"), [(1, "damage"), (20, "damage"), (20, "strain")])
def test_learning_curves_show_mean_and_spread_over_folds(tmp_path: Path, n_folds, task):
    drawn = learning_curves_figure(learnt(n_folds, task), "phantom", tmp_path)
    assert drawn is not None
    assert f"n = {n_folds} folds" in drawn.caption
    assert "one standard deviation over folds" in drawn.caption


def test_a_study_without_folds_has_no_learning_curves(tmp_path):
    assert learning_curves_figure([], "scans", tmp_path) is None


def test_importances_of_few_trials_are_called_rough(tmp_path):
    shares = {"layers": 0.5, "learning_rate": 0.35, "kernel": 0.1, "batch": 0.05}
    few, many = (importance_figure(shares, n, "scans", tmp_path / str(n)) for n in (10, 50))
    assert few is not None
    assert "rough" in few.caption
    assert many is not None
    assert "rough" not in many.caption
    assert importance_figure({}, 10, "scans", tmp_path) is None


def test_the_middle_slices_of_a_store_are_drawn_in_every_plane(tmp_path):
    store = SliceStore.open(make_study(tmp_path).store)
    drawn = middle_slices_figure(store, tmp_path / "figures")
    assert f"n = {len(store.specimens)} specimens" in drawn.caption
    assert drawn.svg.read_text("utf-8").count("<image") == len(store.specimens) * 2 * len(store.planes)
    with Image.open(drawn.png) as image:
        assert image.width > 1000
