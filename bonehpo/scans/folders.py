"""Folders of reconstructed sections, one grey image a file, as reconstruction programs write them."""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bonehpo.errors import ScanError
from bonehpo.scans.images import KINDS, load_image
from bonehpo.scans.order import SIDE_FILES, in_order
from bonehpo.scans.sections import Box, Shape

FEW = 3
"""Images of another format that may lie beside the sections, as a preview or a logo."""

_PIXEL_SIZE = re.compile(r"^\s*(Image )?Pixel Size\s*\((um|µm|mm|nm)\)\s*=\s*([\d.]+)", re.IGNORECASE | re.MULTILINE)
_IN_UM = {"um": 1.0, "µm": 1.0, "mm": 1000.0, "nm": 0.001}


@dataclass(frozen=True, kw_only=True)
class FolderStack:
    """A folder of sections.

    Attributes:
        files: One file for each z, by the number in its name.
        shape: Sections, rows and columns.
        dtype: Type of the first section.
        voxel_um: Side of a voxel in µm, where a log of Skyscan's programs tells it.
        remarks: What the user should know, one sentence each.
    """

    files: tuple[Path, ...]
    shape: Shape
    dtype: np.dtype[Any]
    voxel_um: float | None
    remarks: tuple[str, ...]

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box of voxels; files outside its z-range are not opened.

        Raises:
            ScanError: A section differs from the first in shape or type, is in colours, or cannot be read.
        """
        across_z, *across = box
        block = np.empty([part.stop - part.start for part in box], self.dtype)
        for plane, file in zip(block, self.files[across_z], strict=True):
            page = load_image(file).pixels
            if page.shape != self.shape[1:] or page.dtype.newbyteorder("=") != self.dtype.newbyteorder("="):
                first = f"{self.dtype} {self.shape[1:]}"
                raise ScanError(f"{file}: holds {page.dtype} {page.shape}, the first section {first}; replace the file")
            plane[...] = page[tuple(across)]
        return block


def open_folder(path: Path) -> FolderStack:
    """Open a folder of sections by their names and the first of them.

    Raises:
        ScanError: It holds no images, several series of them, or not all of one; or its first section cannot be used.
    """
    names, remarks = _of_one_format(path)
    series = in_order(path, names)
    files = tuple(path / name for name in series.names)
    first = load_image(files[0])
    if first.pixels.ndim != 2:
        raise ScanError(f"{files[0]}: holds an array of shape {first.pixels.shape}, not one image")
    voxel_um = _logged_voxel(path)
    return FolderStack(
        files=files,
        shape=(len(files), *first.pixels.shape),
        dtype=first.pixels.dtype,
        voxel_um=voxel_um,
        remarks=(*remarks, *series.remarks, *first.remarks),
    )


def images_in(path: Path) -> list[str]:
    """Names of the images of a folder, hidden files left out."""
    return [
        file.name for file in path.iterdir() if file.suffix.lower() in KINDS and file.name[0] != "." and file.is_file()
    ]


def _of_one_format(path: Path) -> tuple[list[str], list[str]]:
    for entry in path.iterdir():
        if entry.suffix.lower() in KINDS and not entry.name.startswith(".") and not (entry.is_file() or entry.is_dir()):
            raise ScanError(f"{entry}: a link to nothing, or no file; copy the section, or remove the name")
    by_kind: dict[str, list[str]] = defaultdict(list)
    for name in images_in(path):
        by_kind[KINDS[Path(name).suffix.lower()]].append(name)
    if not by_kind:
        raise ScanError(f"{path}: the folder holds no images; give the folder of the reconstructed sections")
    kind = max(by_kind, key=lambda kind: len(by_kind[kind]))
    aside = [name for other, names in by_kind.items() if other != kind for name in names]
    strange = [name for name in aside if not SIDE_FILES.search(name)]
    if len(strange) > FEW or len(strange) * 4 > len(by_kind[kind]):
        told = ", ".join(f"{len(names)} {kind}" for kind, names in sorted(by_kind.items()))
        raise ScanError(f"{path}: holds images of several formats ({told}); give each a folder of its own")
    remark = f"Left out, of another format than the {len(by_kind[kind])} {kind}: {', '.join(sorted(aside)[:5])}."
    return by_kind[kind], [remark] if aside else []


def _logged_voxel(path: Path) -> float | None:
    """Side of a voxel in a log that Skyscan's programs leave beside the sections; that of the reconstruction comes first."""
    sizes: list[tuple[bool, float]] = []
    for log in sorted(path.glob("*.log")):
        text = log.read_bytes()[: 1 << 20].decode("latin-1")
        sizes += [
            (bool(of_image), float(size) * _IN_UM[unit.lower()]) for of_image, unit, size in _PIXEL_SIZE.findall(text)
        ]
    return min(sizes)[1] if sizes else None
