"""Figures of the report. Each function draws one and writes it as PNG."""

from pathlib import Path

from matplotlib.figure import Figure

from bonehpo.data.store import SliceStore

INCH_PER_SLICE = 1.3


def montage(store: SliceStore, path: Path) -> None:
    """Draw the middle slice of every specimen in its first and last load state, in every plane.

    Args:
        store: The slices; only the groups that are drawn are read, and each is checked.
        path: PNG to write; its folder must exist.

    Raises:
        StoreDamaged: A group that is drawn is not what was written.
    """
    ends = (store.states[0], store.states[-1])
    columns = [(state, plane) for state in ends for plane in store.planes]
    size = (INCH_PER_SLICE * len(columns) + 0.8, INCH_PER_SLICE * len(store.specimens) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(store.specimens), len(columns), squeeze=False)
    for row, specimen in zip(panels, store.specimens, strict=True):
        for panel, (state, plane) in zip(row, columns, strict=True):
            middle = store.group(specimen, state, plane)[store.n_slices // 2]
            panel.imshow(middle, cmap="gray", vmin=0, vmax=255, interpolation="none")
            panel.set(xticks=[], yticks=[])
            if panel in panels[0]:
                panel.set_title(f"state {state}  {plane}", fontsize=9)
        row[0].set_ylabel(specimen, fontsize=9)
    figure.suptitle(f"{store.bone}: middle slices, pristine and failed", fontsize=10)
    figure.savefig(path, dpi=150)
