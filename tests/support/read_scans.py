"""Scans read whole, or refused."""

from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from bonehpo.errors import ScanError
from bonehpo.scans.readers import open_volume
from bonehpo.scans.sections import centred_box


def read_all(source: Path) -> NDArray[Any]:
    """All voxels of a scan."""
    volume = open_volume(str(source))
    return volume.read(centred_box(volume.shape, None))


def refusal(source: Path) -> str:
    """What is said where a scan is not read."""
    with pytest.raises(ScanError) as caught:
        read_all(source)
    return str(caught.value)
