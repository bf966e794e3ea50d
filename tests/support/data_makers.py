"""Small scans for tests, in every format, with damage made to order."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter


def bone_like(side: int = 20, seed: int = 0, dtype: str = "uint16") -> NDArray[Any]:
    """A noisy two-phase cube, (z, y, x), different for each seed."""
    rng = np.random.default_rng(seed)
    phase = gaussian_filter(rng.standard_normal((side,) * 3), 2) > 0
    intensities = 60 + 100 * phase + rng.normal(0, 12, phase.shape)
    scale = {"uint8": 1, "int8": 0.5, "uint16": 200, "int16": 100, "uint32": 5e3, "int32": 1e6, "float32": 0.01}[dtype]
    return (np.clip(intensities, 0, 250) * scale).astype(dtype)


def write_table(folder: Path, rows: Sequence[Mapping[str, Any]], name: str = "scans.csv") -> Path:
    """A CSV with the columns of the first row."""
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_scans(
    folder: Path, specimens: Sequence[str] = ("TB5", "TB12"), states: Sequence[int] = (1, 2), **volume: Any
) -> Path:
    """Multipage TIFFs of `bone_like` and their table; every scan has its own seed."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i, specimen in enumerate(specimens):
        for state in states:
            file = f"{specimen}_{state}.tif"
            tifffile.imwrite(folder / file, bone_like(seed=100 * i + state, **volume), photometric="minisblack")
            rows.append({"specimen": specimen, "state": state, "path": file, "strain": 0.01 * (state - 1)})
    return write_table(folder, rows)


def write_folder(folder: Path, volume: NDArray[Any]) -> Path:
    """One TIFF a section, numbered without leading zeros: section_2 comes before section_10."""
    folder.mkdir(parents=True)
    for z, section in enumerate(volume):
        tifffile.imwrite(folder / f"section_{z}.tif", section)
    return folder
