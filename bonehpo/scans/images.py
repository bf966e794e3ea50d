"""One grey image of a file: a page of a TIFF, a PNG, a BMP, a JPEG, a 2-D array."""

from pathlib import Path

import numpy as np
from PIL import Image

from bonehpo.scans import tiffs
from bonehpo.scans.photometry import LOSSY, Grey, from_palette, grey

KINDS = {".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG", ".bmp": "BMP", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""Names of image formats by the ending of the file, in small letters."""


def load_image(path: Path) -> Grey:
    """The grey intensities of one image, and how they were got; it may raise what its library raises.

    Raises:
        ScanError: It is in colours, or holds several pages.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return grey(np.load(path, allow_pickle=False), str(path))
    if KINDS.get(suffix) == "TIFF":
        return tiffs.read_page(path)
    with Image.open(path) as image:
        found = _pixels(image, str(path))
        return Grey(found.pixels, (*found.remarks, LOSSY)) if image.format == "JPEG" else found


def _pixels(image: Image.Image, where: str) -> Grey:
    if image.mode != "P":
        return grey(np.asarray(image), where)
    palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    return from_palette(np.asarray(image), palette, where)
