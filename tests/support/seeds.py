"""Small valid files of every format that is read, to be mutated."""

import gzip
import json
import locale
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import SimpleITK as sitk  # noqa: N813
import tifffile
import zarr
from data_makers import bone_like, write_table
from dicom_files import write_dicom
from numpy.typing import NDArray
from PIL import Image

Repack = Callable[[bytes], bytes]


class Seed(NamedTuple):
    """How a valid input is made.

    Attributes:
        kind: Which reader it is for.
        write: Writes it into a folder, and returns what is given to the reader.
        only: Pattern of the files that are mutated.
        unpack: What is mutated of a file, where that is compressed or has checksums.
        repack: The file of it.
    """

    kind: str
    write: Callable[[Path], str]
    only: str = "**/*"
    unpack: Repack = bytes
    repack: Repack = bytes


def bone(dtype: str = "uint16") -> NDArray[Any]:
    """A volume whose axes differ."""
    return bone_like(8, dtype=dtype)[:5, :6, :7]


def _tiff(big: bool = False, **settings: Any) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        tifffile.imwrite(folder / "a.tif", bone(), bigtiff=big, **({"photometric": "minisblack"} | settings))
        return str(folder / "a.tif")

    return write


def _palette(folder: Path) -> str:
    ramp = np.repeat((np.arange(256) * 257).astype("u2")[None], 3, 0)
    tifffile.imwrite(folder / "a.tif", bone("uint8")[0], photometric="palette", colormap=ramp)
    return str(folder / "a.tif")


def _imagej(folder: Path) -> str:
    tifffile.imwrite(folder / "a.tif", bone(), imagej=True, metadata={"axes": "ZYX", "cf": 0, "c0": 1.0, "c1": 2.0})
    return str(folder / "a.tif")


def _ome(folder: Path) -> str:
    with tifffile.TiffWriter(folder / "a.ome.tif", ome=True) as tif:
        for name in ("first", "second"):
            tif.write(bone(), photometric="minisblack", metadata={"axes": "ZYX", "Name": name})
    return f"{folder / 'a.ome.tif'}::first"


def _sections(suffix: str, **settings: Any) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        (folder / "stack").mkdir()
        for z, section in enumerate(bone("uint8")[:3]):
            file = folder / "stack" / f"s{z}{suffix}"
            if suffix == ".tif":
                tifffile.imwrite(file, section, **settings)
            else:
                Image.fromarray(section).save(file, **settings)
        return str(folder / "stack")

    return write


def _skyscan(folder: Path) -> str:
    place = _sections(".bmp")(folder)
    (folder / "stack" / "s.log").write_text("[Reconstruction]\nPixel Size (um)=6.50000\nImage Pixel Size (um)= 8.1\n")
    return place


def _image(suffix: str, mode: str = "L", **settings: Any) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        Image.fromarray(bone("uint8")[0]).convert(mode).save(folder / f"a{suffix}", **settings)
        return str(folder / f"a{suffix}")

    return write


def _npy(folder: Path, flat: bool = False) -> str:
    np.save(folder / "a.npy", bone()[0] if flat else bone())
    return str(folder / "a.npy")


def _itk(name: str, **settings: Any) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        image = sitk.GetImageFromArray(bone(settings.pop("dtype", "uint16")))
        image.SetSpacing((0.0065,) * 3)
        sitk.WriteImage(image, folder / name, **settings)
        return str(folder / name)

    return write


def _dicom(folder: Path, compressed: bool = False) -> str:
    own = locale.setlocale(locale.LC_ALL)
    (folder / "dicom").mkdir()
    volume = bone_like(32)[:3] if compressed else bone()[:3]
    for z, section in enumerate(volume):
        image = sitk.GetImageFromArray(section[None])
        for tag, value in (
            ("0020|000e", "1.2.3"),
            ("0020|0032", f"0\\0\\{0.0065 * z}"),
            ("0020|0037", "1\\0\\0\\0\\1\\0"),
            ("0028|0030", "0.0065\\0.0065"),
        ):
            image.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetUseCompression(compressed)
        writer.SetCompressor("JPEG")
        writer.SetFileName(str(folder / "dicom" / f"i{z}.dcm"))
        writer.Execute(image)
    locale.setlocale(locale.LC_ALL, own)
    return str(folder / "dicom")


def _zarr(version: int, **settings: Any) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        given = {"chunks": (4, 4, 4)} | settings
        zarr.create_array(folder / "a.zarr", data=bone(), zarr_format=version, **given)
        return str(folder / "a.zarr")

    return write


def _ome_zarr(folder: Path) -> str:
    group = zarr.create_group(folder / "a.zarr", zarr_format=2)
    group.create_array("0", data=bone(), chunks=(5, 6, 7))
    group.attrs["multiscales"] = [{"version": "0.4", "datasets": [{"path": "0"}]}]
    return str(folder / "a.zarr")


def _hdf5(**settings: Any) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        with h5py.File(folder / "a.h5", "w", **{k: settings[k] for k in settings if k == "libver"}) as file:
            given = {k: settings[k] for k in settings if k != "libver"}
            file.create_dataset("entry/bone", data=bone(), **given)
        return f"{folder / 'a.h5'}::/entry/bone"

    return write


def _virtual_hdf5(folder: Path) -> str:
    with h5py.File(folder / "part.h5", "w") as file:
        file["bone"] = bone()
    with h5py.File(folder / "a.nxs", "w") as file:
        layout = h5py.VirtualLayout(bone().shape, "u2")
        layout[:] = h5py.VirtualSource("part.h5", "bone", bone().shape)
        file.create_virtual_dataset("bone", layout, fillvalue=0)
        file["link"] = h5py.ExternalLink("part.h5", "bone")
    return f"{folder / 'a.nxs'}::bone"


def _table(folder: Path) -> str:
    rows = [
        {"specimen": s, "state": t, "path": f"{s}{t}.tif", "strain": 0.01, "stress_mpa": 3.5, "voxel_um": 6.5}
        for s in "AB"
        for t in (1, 2)
    ]
    for row in rows:
        (folder / str(row["path"])).touch()
    return str(write_table(folder, rows))


def _slice_table(folder: Path) -> str:
    rows = [
        {"specimen": s, "state": t, "plane": "XY", "position": z, "path": "a.png"}
        for s in "AB"
        for t in (1, 2)
        for z in (1, 2)
    ]
    (folder / "a.png").touch()
    return str(write_table(folder, rows))


RECIPE = {
    "kind": "volumes", "crop": 8, "match": False, "median": True, "n_slices": 3, "side": 8, "planes": ["XY", "XZ"],
    "reference": "A:1", "dtype": "uint8", "histogram": None, "window": {"low": 0, "high": 255}, "voxel_um": 6.5,
}  # fmt: skip


def _recipe(folder: Path) -> str:
    (folder / "recipe.json").write_text(json.dumps(RECIPE))
    return str(folder / "recipe.json")


def _manifest(folder: Path) -> str:
    scan = {
        "source": "a.tif", "sha256": "0" * 64, "shape": [5, 6, 7], "dtype": "uint8", "threshold": 9,
        "bone_volume_fraction": 0.2, "trabecular_thickness_um": None, "trabecular_spacing_um": None,
        "degree_of_anisotropy": None, "damage_fraction": None, "strain": 0.1, "stress_mpa": None,
    }  # fmt: skip
    whole = {
        "format": 2, "bone": "TB", "phantom": False, "specimens": ["A", "B"], "states": [1, 2], "recipe": RECIPE,
        "damage": False, "preview_side": 4, "notes": [], "files": [{"path": "a", "size": 1, "sha256": "0" * 64}],
        "scans": [{"specimen": s, "state": t, **scan} for s in "AB" for t in (1, 2)],
    }  # fmt: skip
    (folder / "MANIFEST.json").write_text(json.dumps(whole))
    return str(folder / "MANIFEST.json")


def _with_sums(png: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what they hold."""
    out, at = png[:8], 8
    while at + 12 <= len(png):
        n = int.from_bytes(png[at : at + 4], "big")
        n = n if at + 12 + n <= len(png) else len(png) - at - 12
        body = png[at + 4 : at + 8 + n]
        out += png[at : at + 4] + body + zlib.crc32(body).to_bytes(4, "big")
        at += 12 + n
    return out + png[at:]


SEEDS: dict[str, Seed] = {
    "NumPy": Seed("volume", _npy),
    "NumPy image": Seed("image", lambda folder: _npy(folder, flat=True)),
    "TIFF": Seed("volume", _tiff()),
    "TIFF bare pages": Seed("volume", _tiff(metadata=None)),
    "TIFF deflate": Seed("volume", _tiff(compression="zlib")),
    "TIFF LZW": Seed("volume", _tiff(compression="lzw", predictor=True)),
    "TIFF zstd tiles": Seed("volume", _tiff(compression="zstd", tile=(16, 16))),
    "BigTIFF": Seed("volume", _tiff(big=True, compression="zlib")),
    "TIFF ImageJ": Seed("volume", _imagej),
    "OME-TIFF series": Seed("volume", _ome),
    "TIFF palette image": Seed("image", _palette),
    "folder of TIFF": Seed("volume", _sections(".tif", compression="packbits")),
    "folder of PNG": Seed("volume", _sections(".png"), repack=_with_sums),
    "folder of BMP with log": Seed("volume", _skyscan),
    "folder of JPEG": Seed("volume", _sections(".jpg", quality=90)),
    "PNG": Seed("image", _image(".png")),
    "PNG with sums": Seed("image", _image(".png", "P"), repack=_with_sums),
    "BMP": Seed("image", _image(".bmp", "P")),
    "JPEG": Seed("image", _image(".jpg")),
    "folder of DICOM": Seed("volume", _dicom),
    "folder of DICOM, packed": Seed("volume", lambda folder: _dicom(folder, compressed=True)),
    "DICOM of several frames": Seed("volume", lambda folder: str(write_dicom(folder / "IM1", bone()))),
    "NRRD": Seed("volume", _itk("a.nrrd")),
    "NRRD gzip": Seed("volume", _itk("a.nrrd", useCompression=True)),
    "NRRD apart": Seed("volume", _itk("a.nhdr"), only="*.nhdr"),
    "MetaImage": Seed("volume", _itk("a.mha")),
    "MetaImage packed": Seed("volume", _itk("a.mha", useCompression=True)),
    "MetaImage apart": Seed("volume", _itk("a.mhd"), only="*.mhd"),
    "MetaImage packed apart": Seed("volume", _itk("a.mhd", useCompression=True)),
    "NIfTI": Seed("volume", _itk("a.nii", dtype="float32")),
    "NIfTI gz": Seed("volume", _itk("a.nii.gz")),
    "NIfTI gz, inside": Seed("volume", _itk("a.nii.gz"), unpack=gzip.decompress, repack=gzip.compress),
    "zarr 2": Seed("volume", _zarr(2)),
    "zarr 2 metadata": Seed("volume", _zarr(2), only="**/.z*"),
    "zarr 3": Seed("volume", _zarr(3)),
    "zarr 3 metadata": Seed("volume", _zarr(3, compressors=zarr.codecs.GzipCodec()), only="**/zarr.json"),
    "zarr 3 shards": Seed("volume", _zarr(3, chunks=(2, 3, 7), shards=(4, 6, 7))),
    "zarr 3 blosc": Seed("volume", _zarr(3, compressors=zarr.codecs.BloscCodec()), only="**/c/**/*"),
    "OME-Zarr": Seed("volume", _ome_zarr, only="**/.z*"),
    "HDF5": Seed("volume", _hdf5()),
    "HDF5 gzip": Seed("volume", _hdf5(chunks=(3, 3, 3), compression="gzip", shuffle=True)),
    "HDF5 latest, LZF": Seed("volume", _hdf5(libver="latest", chunks=(3, 3, 3), compression="lzf", fletcher32=True)),
    "HDF5 virtual": Seed("volume", _virtual_hdf5),
    "scans.csv": Seed("table", _table, only="*.csv"),
    "scans.csv of slices": Seed("table", _slice_table, only="*.csv"),
    "manifest": Seed("manifest", _manifest),
    "recipe": Seed("recipe", _recipe),
}
