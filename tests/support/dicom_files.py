"""DICOM files written byte by byte, with what libraries do not write: ratios of intensities, white as 0, odd names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CT = "1.2.840.10008.5.1.4.1.1.2"
FRAMES = {1: "1.2.840.10008.5.1.4.1.1.7.2", 2: "1.2.840.10008.5.1.4.1.1.7.3"}
"""Storage of several grey frames by the bytes of a pixel."""

EXPLICIT = "1.2.840.10008.1.2.1"

_KINDS = {
    (0x0002, 0x0002): "UI", (0x0002, 0x0003): "UI", (0x0002, 0x0010): "UI", (0x0008, 0x0016): "UI",
    (0x0008, 0x0018): "UI", (0x0008, 0x0060): "CS", (0x0018, 0x0050): "DS", (0x0018, 0x0088): "DS",
    (0x0020, 0x000D): "UI", (0x0020, 0x0013): "IS", (0x0020, 0x000E): "UI",
    (0x0020, 0x0032): "DS", (0x0020, 0x0037): "DS", (0x0028, 0x0002): "US", (0x0028, 0x0004): "CS",
    (0x0028, 0x0008): "IS", (0x0028, 0x0010): "US", (0x0028, 0x0011): "US", (0x0028, 0x0030): "DS",
    (0x0028, 0x0100): "US", (0x0028, 0x0101): "US", (0x0028, 0x0102): "US", (0x0028, 0x0103): "US",
    (0x0028, 0x1052): "DS", (0x0028, 0x1053): "DS", (0x0028, 0x2110): "CS",
}  # fmt: skip


def _element(tag: tuple[int, int], value: str | int) -> bytes:
    kind = _KINDS[tag]
    content = value.to_bytes(2, "little") if isinstance(value, int) else value.encode()
    content += (b"\0" if kind == "UI" else b" ") * (len(content) % 2)
    head = b"".join(part.to_bytes(2, "little") for part in tag)
    return head + kind.encode() + len(content).to_bytes(2, "little") + content


def write_dicom(
    file: Path, pixels: NDArray[Any], more: Mapping[tuple[int, int], str | int] | None = None, *, number: int = 1
) -> Path:
    """Write one image, or several frames where there are three axes, of 8 or 16 bits.

    Args:
        file: Where to.
        pixels: (y, x) or (frame, y, x).
        more: Elements by group and number, besides or in place of the usual ones.
        number: Of the image, for its UID.
    """
    frames = pixels.ndim == 3
    uid, signed = f"1.2.3.4.{number}", int(pixels.dtype.kind == "i")
    storage = FRAMES[pixels.dtype.itemsize] if frames else CT
    meta = {(0x0002, 0x0002): storage, (0x0002, 0x0003): uid, (0x0002, 0x0010): EXPLICIT}
    rows, columns = pixels.shape[-2:]
    n_bits = 8 * pixels.dtype.itemsize
    values: dict[tuple[int, int], str | int] = {
        (0x0008, 0x0016): storage, (0x0008, 0x0018): uid, (0x0008, 0x0060): "CT", (0x0020, 0x000D): "1.2.3",
        (0x0020, 0x000E): "1.2.3.5", (0x0028, 0x0002): 1, (0x0028, 0x0004): "MONOCHROME2", (0x0028, 0x0010): rows,
        (0x0028, 0x0011): columns, (0x0028, 0x0030): "0.0065\\0.0065", (0x0028, 0x0100): n_bits, (0x0028, 0x0101): n_bits,
        (0x0028, 0x0102): n_bits - 1, (0x0028, 0x0103): signed,
    }  # fmt: skip
    if frames:
        values |= {(0x0028, 0x0008): str(len(pixels))}
    values |= more or {}
    body = b"".join(_element(tag, value) for tag, value in sorted({**meta, **values}.items()))
    data = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).tobytes()
    pixel_data = (
        b"\xe0\x7f\x10\x00" + (b"OB" if n_bits == 8 else b"OW") + b"\0\0" + len(data).to_bytes(4, "little") + data
    )
    file.write_bytes(bytes(128) + b"DICM" + body + pixel_data)
    return file
