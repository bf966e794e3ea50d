"""One grey image of a file: a page of a TIFF, a PNG, a BMP, a JPEG, a 2-D array."""

from pathlib import Path

import numpy as np
from PIL import Image

from bonehpo.errors import ScanError
from bonehpo.scans import tiffs
from bonehpo.scans.photometry import LOSSY, Grey, from_palette, grey

KINDS = {".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG", ".bmp": "BMP", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""Names of image formats by the ending of the file, in small letters."""


def load_image(path: Path) -> Grey:
    """The grey intensities of one image, and how they were got.

    Raises:
        ScanError: It is damaged, in colours, or holds several pages.
    """
    try:
        return _loaded(path)
    except ScanError:
        raise
    except Exception as error:  # whatever libraries raise at a file that they cannot read
        kind = KINDS.get(path.suffix.lower(), "NumPy array")
        raise ScanError(f"{path}: cut short, damaged or no {kind}; copy it again") from error


def _loaded(path: Path) -> Grey:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return grey(np.load(path, allow_pickle=False), str(path))
    if KINDS.get(suffix) == "TIFF":
        return tiffs.read_page(path)
    with Image.open(path) as image:
        found = _pixels(image, str(path))
        return Grey(found.pixels, (*found.remarks, LOSSY)) if image.format == "JPEG" else found


def _pixels(image: Image.Image, where: str) -> Grey:
    if image.mode in ("CMYK", "LAB", "HSV"):
        raise ScanError(f"{where}: is in {image.mode}, which is no grey; save it in grey, as it was reconstructed")
    if image.mode != "P":
        return grey(np.asarray(image), where)
    palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    return from_palette(np.asarray(image), palette, where)
