"""A plate of phantom slices for the eye: one specimen, pristine, first damaged and failed, in three planes."""

import json
from pathlib import Path

from matplotlib.figure import Figure

from bonehpo.errors import PhantomError
from bonehpo.phantom import SPEC_JSON
from bonehpo.scans.readers import open_volume
from bonehpo.scans.sections import NORMALS, cut


def phantom_plate(phantom: Path, specimen: str, file: Path) -> None:
    """Draw the middle slice of each plane at three load states.

    Args:
        phantom: Folder that `write_phantom` made.
        specimen: Name of one of its specimens.
        file: PNG to write.

    Raises:
        PhantomError: The folder holds no phantom, or no such specimen.
    """
    states = plate_states(phantom, specimen)
    figure = Figure(figsize=(2 * len(states), 2 * len(NORMALS)), dpi=130, layout="constrained")
    grid = figure.subplots(len(NORMALS), len(states))
    for column, (title, state) in enumerate(states.items()):
        volume = open_volume(str(phantom / specimen / f"state_{state:02d}.tif"))
        grey = volume.read((slice(None), slice(None), slice(None)))
        for row, plane in enumerate(NORMALS):
            axes = grid[row, column]
            axes.imshow(cut(grey, plane, len(grey) // 2), cmap="gray", vmin=0, vmax=255, interpolation="bicubic")
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                axes.set_title(f"{specimen}, {title}", fontsize=9)
            if column == 0:
                axes.set_ylabel(plane, fontsize=9)
    figure.savefig(file)


def plate_states(phantom: Path, specimen: str) -> dict[str, int]:
    """The states worth showing, by title: pristine, half way from the first damage to failure, failed.

    Raises:
        PhantomError: The folder holds no phantom, or no such specimen.
    """
    marker = phantom / SPEC_JSON
    if not marker.exists():
        raise PhantomError(f"{phantom} holds no {SPEC_JSON}: make a phantom there with `bonehpo phantom`")
    document = json.loads(marker.read_text(encoding="utf-8"))
    onsets: dict[str, int] = document["first_damaged_state"]
    if specimen not in onsets:
        raise PhantomError(f"{phantom} has no specimen {specimen}: choose one of {', '.join(onsets)}")
    last = int(document["phantom"]["n_states"])
    between = (onsets[specimen] + last) // 2
    return {"pristine": 1, f"state {between}": between, "failed": last}
