"""A prediction: what a registered network says of a further scan, prepared as its training scans were."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bonehpo.analysis.calibration import ScanVerdict, summarise_scan
from bonehpo.errors import PreparationError
from bonehpo.files import writing
from bonehpo.preparation.prepare import offset_from, prepare_scan
from bonehpo.preparation.registration import Offset
from bonehpo.report.figures import prediction_figure
from bonehpo.store.recipe import Recipe
from bonehpo.tracking.database import open_tracking
from bonehpo.tracking.registry import load_registered


class PredictionFiles(NamedTuple):
    """Files of a prediction: a row for each slice, and a picture."""

    csv: Path
    picture: Path


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction(ScanVerdict):
    """Prediction for a scan: the whole, each plane, every slice.

    Attributes:
        scan: The scan, as it was named.
        images: For each plane the slices that the network looked at, uint8 (slice, y, x).
        model: Name of the registered model.
        version: Its version.
        ran_on: "phantom" where the network was trained on phantoms and knows nothing of real bone, else "scans".
        offset: From the first scan of the specimen, where that was given.
        registered: Whether the training scans, and so this one, were registered.
    """

    scan: str
    images: Mapping[str, npt.NDArray[np.uint8]]
    model: str
    version: int
    ran_on: str
    offset: Offset | None = None
    registered: bool = False

    @property
    def registration(self) -> str:
        """Distance of the scan from the first of its specimen, in a sentence; empty where there is nothing to say."""
        if self.offset is None:
            told = "Training scans were laid on the first of their specimen: give that of this one, where there is one."
            return told if self.registered else ""
        apart = f"{self.offset.distance:.1f} voxels and {self.offset.turn_deg:.1f}° from the first scan"
        if not self.offset.is_same_place:
            return f"Caution: the scan is unlike the first ({self.offset.similarity:.2f}): see that both show the same bone."
        if self.registered:
            return f"The scan lay {apart}, and was laid on it, as training scans were."
        word = "Caution: the" if self.offset.is_cautioned else "The"
        return f"{word} scan lies {apart}, and is left there, as training scans were."

    def write(self, folder: str | PathLike[str]) -> PredictionFiles:
        """Write every slice as CSV, and a picture.

        Args:
            folder: Made where it is not there.

        Returns:
            Both files, named after the scan.

        Raises:
            StudyError: The folder cannot be written.
        """
        target = Path(folder)
        stem = _stem(self.scan)
        files = PredictionFiles(target / f"{stem}-prediction.csv", target / f"{stem}-prediction.png")
        with writing(target):
            target.mkdir(parents=True, exist_ok=True)
            self.slices.to_csv(files.csv, index=False)
            prediction_figure(self, self.images, files.picture)
        return files


def _stem(scan: str) -> str:
    """Name of a scan for files: its folder, itself, and what is read of it; a point in the name of a folder parts no ending.

    >>> _stem("scans/F3.h5::/entry/bone")
    'scans-F3-entry-bone'
    """
    name, _, inner = scan.partition("::")
    source = Path(name).absolute()
    own = source.name if source.is_dir() and source.suffix.lower() != ".zarr" else source.stem
    return "-".join(part for part in (source.parent.name, own, *re.findall(r"[\w.]+", inner)) if part)


def predict_scan(
    model: str, scan: str | PathLike[str], project: Path, first: str | PathLike[str] | None = None
) -> Prediction:
    """Run a registered network on a scan, prepared as its training scans were.

    Args:
        model: Name of a registered model, whose champion is taken, or a URI, see `registry.load_registered`.
        scan: A folder of TIFFs, a multipage TIFF, .npy, .zarr or FILE.h5::/dataset; for a network that was trained on 2-D
            slices an image or a folder of images.
        project: Folder that holds `mlruns/`.
        first: The first scan of the same specimen, from which it is measured how far the scan lies; None without one.

    Raises:
        TrackingError: There is no such model, or its files cannot be read.
        ScanError: The scan cannot be read, or its intensities cannot be used.
        PreparationError: The scan is smaller than the crop, or its images are not laid out by planes.
    """
    import bonehpo.learning.backend  # noqa: F401  Keras, quietly, before the model's own code imports it

    network = load_registered(open_tracking(project), model)
    recipe = Recipe.from_json(network.recipe_json)
    if first is not None and recipe.kind == "slices":
        raise PreparationError(
            f"{fspath(first)}: {network.name} is for 2-D slices, which are not registered; leave it out"
        )
    offset = None if first is None else offset_from(fspath(first), fspath(scan))
    prepared = prepare_scan(fspath(scan), recipe, offset)
    p_failed = {plane: network.predict(images)[:, 1] for plane, images in prepared.slices.items()}
    return Prediction(
        **vars(summarise_scan(p_failed, prepared.positions)),
        scan=fspath(scan),
        images=prepared.slices,
        model=network.name,
        version=network.version,
        ran_on=network.ran_on,
        offset=offset,
        registered=recipe.registered,
    )
