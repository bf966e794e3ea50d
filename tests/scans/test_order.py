"""Names of sections as scanners and people write them: ordered by number, or refused by name."""

import random
from pathlib import Path

import pytest

from bonehpo.errors import ScanError
from bonehpo.scans.order import in_order

N = 24
SECTIONS = [f"rec{i:04d}.tif" for i in range(N)]

IN_ORDER = {
    "padded": SECTIONS,
    "not padded": [f"slice_{i}.tif" for i in range(1, N)],
    "padded in part": [f"slice_{i}.tif" if i < 9 else f"slice_{i:04d}.tif" for i in range(N)],
    "negative": [f"z_{i}.tif" for i in range(-9, 9)],
    "negative behind a letter": [f"z{i}.tif" for i in range(-9, 9)],
    "all negative": [f"z_{i}.tif" for i in range(-19, -9)],
    "a hyphen": [f"scan-{i:03d}.tif" for i in range(N)],
    "a hyphen behind a space": [f"scan -{i:03d}.tif" for i in range(N)],
    "millimetres": [f"z_{0.05 * i:.2f}".rstrip("0") + "mm.tif" for i in range(1, 32)],
    "decimal comma": [f"z{0.05 * i:.2f}.tif".replace(".", ",", 1) for i in range(N)],
    "rounded": [f"z{round(0.0065 * i, 3)}.tif" for i in range(N)],
    "rounded µm": [f"z{round(6.5 * i + 0.1)}.tif" for i in range(N)],
    "version": [f"scan.1.{i}.tif" for i in range(1, 15)],
    "date": [f"20261126_{i:04d}.tif" for i in range(N)],
    "time": [f"rec_{i:04d}_{100000 + 7 * i + i % 3}.tif" for i in range(N)],
    "twice": [f"s_{i}_{i}.tif" for i in range(N)],
    "two days": [f"26_{i:04d}.tif" for i in range(9)] + [f"27_{i:04d}.tif" for i in range(9, N)],
    "specimen and state": [f"TB5_2_{i}.tif" for i in range(N)],
    "two endings": [f"s{i}.{'tif' if i % 2 else 'TIFF'}" for i in range(N)],
    "capitals": [f"{'S' if i % 2 else 's'}lice{i}.tif" for i in range(N)],
    "from the middle": [f"s{i}.tif" for i in range(300, 300 + N)],
    "per cent": [f"{i}%.tif" for i in range(N)],
    "one": ["section.tif"],
    "coronal": [f"TB5_cor_{i:04d}.tif" for i in range(N)],
    "sagittal": [f"TB5_sag{i}.tif" for i in range(N)],
}

REFUSED = {
    "gap": ([n for i, n in enumerate(SECTIONS) if i not in (12, 13)], "numbers 12, 13 are missing between rec0011.tif"),
    "gap of one": ([n for i, n in enumerate(SECTIONS) if i != 2], "number 2 is missing between rec0001.tif and rec0003.tif"),
    "gap in decimals": ([f"z{0.5 * i}.tif" for i in range(N) if i != 3], "number 1.5 is missing"),
    "gap in rounded": ([f"z{round(0.0065 * i, 3)}.tif" for i in range(N) if i not in (7, 8)], "are missing"),
    "gap in a version": ([f"scan.1.{i}.tif" for i in range(1, 15) if i != 5], "number 5 is missing"),
    "copy": ([*SECTIONS, "rec0005 (1).tif"], "rec0005 (1).tif does not belong to rec0000.tif … rec0023.tif"),
    "copies": ([*SECTIONS, "rec0005 (1).tif", "Copy of rec0006.tif"], "do not belong to"),
    "number twice": ([*SECTIONS, "rec5.tif"], "number 5 stands 2 times (rec0005.tif, rec5.tif)"),
    "two endings of one": ([*SECTIONS, "rec0005.tiff"], "have the same number|number 5 stands 2 times"),
    "projection": ([*SECTIONS, "MIP.tif"], "MIP.tif does not belong"),
    "masks": ([*SECTIONS, *(f"mask{i:04d}.tif" for i in range(N))], "2 series of images: mask0000.tif … mask0023.tif"),
    "two series": ([f"{c}_{i}.tif" for c in "ab" for i in range(N)], "a_0.tif … a_9.tif (24 files), b_0.tif"),
    "two series by number": ([f"t{t}_z{i:03d}.tif" for t in (1, 2) for i in range(N)], "number 0 stands 2 times"),
    "two depths": ([f"s_{i}_{bits}bit.tif" for bits in (8, 16) for i in range(N)], "number 0 stands 2 times"),
    "no numbers": (["top.tif", "middle.tif", "bottom.tif"], "hold no common number"),
    "two orders": ([f"a_{i}_{N - i}.tif" for i in range(N)], "another order by each"),
    "uneven": ([f"s{i}.tif" for i in (0, 10, 20, 24, 30, 40)], "do not go in steps of 10"),
}  # fmt: skip


def shuffled(names):
    return random.Random(0).sample(names, len(names))


@pytest.mark.parametrize("names", IN_ORDER.values(), ids=IN_ORDER)
def test_sections_are_ordered_by_their_number(names):
    found = in_order(Path("scan"), shuffled(names))
    assert found.names == tuple(names)
    assert not [remark for remark in found.remarks if "steps" not in remark]


@pytest.mark.parametrize(("names", "complaint"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_one_whole_series_is_refused_by_name(names, complaint):
    with pytest.raises(ScanError) as refusal:
        in_order(Path("scan"), shuffled(names))
    told = str(refusal.value)
    assert any(part in told for part in complaint.split("|")), told
    assert told.startswith("scan: ")
    assert "\n" not in told
    assert len(told) < 300


def test_side_files_of_skyscan_are_left_out_and_named():
    found = in_order(Path("scan"), shuffled([*SECTIONS, "rec_spr.tif"]))
    assert found.names == tuple(SECTIONS)
    assert found.remarks == ("Left out as no sections: rec_spr.tif.",)


def test_every_second_section_is_read_and_said():
    found = in_order(Path("scan"), shuffled(SECTIONS[::2]))
    assert found.names == tuple(SECTIONS[::2])
    assert "in steps of 2" in found.remarks[0]
