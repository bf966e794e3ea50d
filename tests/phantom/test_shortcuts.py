"""The zoo of shortcuts: each kind does what its strength says, to the scans that are asked for and to no others."""

import numpy as np
import pytest
import tifffile
from commands import call, refusal
from places import DOCS

from bonehpo.domain import ignore_progress
from bonehpo.engine import InProcess
from bonehpo.errors import PhantomError
from bonehpo.phantom import PhantomSpec, write_phantom
from bonehpo.phantom.shortcuts import KINDS, Shortcut, parse_shortcut

SIDE = 32


def smooth(seed: int = 0) -> np.ndarray:
    """A smooth scan between 0.2 and 0.8, (z, y, x)."""
    z, y, x = np.mgrid[:SIDE, :SIDE, :SIDE] / 5
    return (0.5 + 0.3 * np.sin(z + seed) * np.cos(y) * np.sin(x)).astype(np.float32)


def planted(text: str, scan: np.ndarray | None = None) -> np.ndarray:
    return parse_shortcut(text).planted(smooth() if scan is None else scan, np.random.default_rng(0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_changes_a_scan_and_a_stronger_one_more(kind):
    scan, of = smooth(), KINDS[kind]
    by_strength = {
        "bit-depth": (8, 2),
        "jpeg": (95, 10),
        "gamma": (1.1, 2),
        "gain": (1.05, 1.5),
        "voxel-size": (1.02, 1.2),
    }
    weak, strong = by_strength.get(kind, (of.strength / 2 if kind != "smear" else 2, of.strength * 2))
    changes = [np.abs(planted(f"{kind}:{strength}", scan.copy()) - scan).mean() for strength in (weak, strong)]
    assert 0 < changes[0] < changes[1]
    assert planted(kind).shape == scan.shape
    assert planted(kind).dtype == np.float32
    np.testing.assert_array_equal(planted(kind), planted(kind))


def test_strengths_are_what_they_are_said_to_be():
    flat = np.full((SIDE,) * 3, 0.5, np.float32)
    assert planted("noise:0.1", flat).std() == pytest.approx(0.1, rel=0.05)
    assert planted("gain:1.2", flat).mean() == pytest.approx(0.6)
    assert planted("gamma:2", flat).mean() == pytest.approx(0.25)
    assert np.ptp(planted("shading:0.08", flat)[0, 0]) == pytest.approx(0.04)
    assert np.ptp(planted("drift:0.08", flat)[:, 0, 0]) == pytest.approx(0.04)
    assert len(np.unique(planted("bit-depth:3"))) <= 8
    assert (planted("frame:2", flat) == 0).mean() == pytest.approx(1 - (28 / 32) ** 3)
    assert all((planted("mark:5", flat).take(place, axis)[:5, :5] == 1).all() for axis in range(3) for place in (0, 20))
    np.testing.assert_allclose(planted("shift:3")[..., :-3], smooth()[..., 3:], atol=1e-6)
    step = np.zeros((SIDE,) * 3, np.float32)
    step[16:] = 1
    assert np.count_nonzero(np.diff(planted("smear:4", step)[:, 0, 0])) == 5
    assert np.ptp(planted("smear:4", step), axis=(1, 2)).max() == 0


def test_hot_pixels_are_single_and_as_many_as_asked_for():
    changed = planted("hot-pixels:0.01") != smooth()
    assert changed.mean() == pytest.approx(0.01, rel=0.3)


@pytest.mark.parametrize(("where", "states"), [("pristine", {1}), ("failed", {3}), ("loaded", {2, 3})])
def test_only_the_scans_asked_for_are_changed(tmp_path, where, states):
    def scans(name, shortcut):
        spec = PhantomSpec(bone="TB", side=SIDE, n_states=3, specimens=("A",), shortcut=shortcut)
        folder = write_phantom(spec, tmp_path / name, InProcess(), ignore_progress).parent
        return {state: tifffile.imread(folder / f"A/state_{state:02d}.tif") for state in (1, 2, 3)}

    clean, trapped = scans("clean", ""), scans("trap", f"gain:1.3@{where}")
    assert {state for state in clean if not np.array_equal(clean[state], trapped[state])} == states


def test_what_is_known_of_damage_moves_with_the_bone():
    damaged = smooth() > 0.7
    assert parse_shortcut("blur@failed").moved(damaged) is damaged
    moved = parse_shortcut("shift:3@failed").moved(damaged)
    np.testing.assert_array_equal(moved[..., :-3], damaged[..., 3:])


def test_a_shortcut_is_read_as_it_is_written():
    assert parse_shortcut("smear") == Shortcut("smear", 3, "pristine")
    assert parse_shortcut("noise:0.05@loaded") == Shortcut("noise", 0.05, "loaded")
    assert str(parse_shortcut("noise:0.05@loaded")) == "noise:0.05@loaded"
    assert PhantomSpec(bone="CB", shortcut="blur").shortcut == "blur:0.6@pristine"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("wobble", "is of no known kind: choose one of hot-pixels, smear,"),
        ("@failed", "is of no known kind"),
        ("blur@first", "names no scans: end it with @pristine, @failed, @loaded, or leave that out"),
        ("blur:0", "no such strength: give the standard deviation of a Gaussian in voxels, above 0 and up to 20"),
        ("blur:nan", "no such strength"),
        ("blur:much@failed", "no such strength"),
        ("jpeg:101", "give the quality, above 0 and up to 100"),
    ],
)
def test_a_shortcut_that_is_none_is_refused(text, complaint):
    with pytest.raises(PhantomError, match=f"Shortcut '{text}'") as caught:
        PhantomSpec(bone="TB", shortcut=text)
    assert complaint in str(caught.value)


def test_the_option_alone_plants_the_trap_of_the_paper(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("phantom", "--bone", "TB", "--side", 32, "--states", 2, "--specimens", "A", "--workers", 0)
    call(*words, "--out", "bare", "--shortcut")
    call(*words, "--out", "said", "--shortcut", "hot-pixels:0.02@pristine")
    assert (tmp_path / "bare/phantom.json").read_text() == (tmp_path / "said/phantom.json").read_text()
    assert "is of no known kind" in refusal(*words, "--out", "other", "--shortcut", "wobble")


def test_the_how_to_lists_every_kind():
    text = (DOCS / "how-to" / "audit.md").read_text("utf-8")
    assert all(f"| `{name}` | {kind.means} | {kind.strength:g} |" in text for name, kind in KINDS.items())
