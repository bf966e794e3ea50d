"""The limit of what one scan may take in memory, asked before anything is decoded: a header can claim any size."""

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import psutil

from bonehpo.errors import ScanError

VARIABLE = "BONEHPO_MAX_GIGABYTES"
"""Of the environment, so that worker processes know it too."""

SHARE = 0.5
"""Of this machine's memory, where nothing else is said."""


def max_bytes() -> float:
    """Bytes that the voxels of one scan may take.

    Raises:
        ScanError: The environment says no number.
    """
    asked = os.environ.get(VARIABLE)
    if not asked:
        return SHARE * psutil.virtual_memory().total
    try:
        return float(asked) * 1e9
    except ValueError as error:
        raise ScanError(f"{VARIABLE} is {asked!r}; give gigabytes as a number") from error


def refuse_large(where: str, shape: Sequence[int], dtype: np.dtype[Any], what: str = "voxels") -> None:
    """Refuse to read what would take more memory than a scan may.

    Args:
        where: The file, for the refusal.
        shape: Of what would be read at once.
        dtype: Its type.
        what: Its name.

    Raises:
        ScanError: It would take too much, or has a length below 0.
    """
    if any(extent < 0 for extent in shape):
        raise ScanError(f"{where}: claims the shape {tuple(shape)}, which cannot be; copy it again")
    size = math.prod(map(int, shape)) * dtype.itemsize
    if size > max_bytes():
        raise ScanError(
            f"{where}: {' × '.join(map(str, shape))} {what} of {dtype} take {size / 1e9:.1f} GB, more than the "
            f"{max_bytes() / 1e9:.1f} GB that one scan may; give --crop, or --max-gigabytes if that is right"
        )


CHUNK_BYTES, CHUNK_RATIO = 2**26, 64
"""Bytes of a chunk, and its size over that of its array, up to which it is read: a voxel needs its whole chunk in memory."""

N_CHUNKS = 2**21
"""Chunks up to which a volume is read: each is looked for by its name, which takes a second for so many."""


def refuse_chunks(where: str, shape: Sequence[int], chunk: Sequence[int], dtype: np.dtype[Any]) -> None:
    """Refuse chunks of which one takes too much memory, nearly nothing lies in the array, or too many would be looked for.

    Args:
        where: The file, for the refusal.
        shape: Of the array.
        chunk: Of its chunks.
        dtype: Its type.

    Raises:
        ScanError: The chunks can't be read so, or can't be what was written.
    """
    refuse_large(where, chunk, dtype, "voxels of a chunk")
    size, whole = (math.prod(map(int, extents)) * dtype.itemsize for extents in (chunk, shape))
    of_chunk, of_array = (" × ".join(map(str, extents)) for extents in (chunk, shape))
    if size > CHUNK_BYTES and size > CHUNK_RATIO * whole:
        raise ScanError(
            f"{where}: each chunk claims {of_chunk} voxels, all of the array are {of_array}; its metadata are damaged, "
            "copy it again"
        )
    n = math.prod(-(-int(extent) // int(length)) for extent, length in zip(shape, chunk, strict=True))
    if n > N_CHUNKS:
        raise ScanError(
            f"{where}: claims {of_array} voxels in {n:.3g} chunks of {of_chunk}, more than the {N_CHUNKS:.3g} that are "
            "read; copy it again if that is not its shape, else save it in larger chunks"
        )
