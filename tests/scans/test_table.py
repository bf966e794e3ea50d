"""What a table of scans may hold, and which files are volumes."""

import logging
import shutil
import unicodedata
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from data_makers import bone_like, write_folder, write_scans, write_table
from places import SHARED_DATA

from bonehpo.errors import ScanError
from bonehpo.scans.readers import open_volume, read_image
from bonehpo.scans.sections import centred_box
from bonehpo.scans.table import read_scans

BOX = (slice(3, 15), slice(2, 14), slice(5, 11))


def refusal(function, *arguments) -> str:
    with pytest.raises(ScanError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_table_of_scans_is_read_in_natural_order_with_its_numbers(tmp_path):
    table = read_scans(write_scans(tmp_path, specimens=("TB12", "TB5"), states=(15, 1, 7)))
    assert (table.kind, table.specimens, table.states) == ("volumes", ("TB5", "TB12"), (1, 7, 15))
    assert table.scans[0].strain == 0
    assert table.scans[0].voxel_um is None
    assert all(Path(scan.source).is_file() for scan in table.scans)


def test_excel_byte_order_marks_spaces_and_further_columns_do_no_harm(tmp_path):
    path = write_scans(tmp_path / "Knochen ß – 1")
    lines = path.read_text().splitlines()
    path.write_text("\n".join([f"note, {lines[0]}", *(f"'x', {line}" for line in lines[1:]), ""]), "utf-8-sig")
    assert len(read_scans(path).scans) == 4


def test_intermediate_states_may_be_missing_but_not_the_first_or_the_last(tmp_path):
    lines = write_scans(tmp_path, states=(1, 2, 3)).read_text().splitlines()
    for missing, complaint in ((1, "TB5 lacks the first state, 1"), (2, None), (3, "TB5 lacks the last state, 3")):
        kept = [line for line in lines if not line.startswith(f"TB5,{missing},")]
        (tmp_path / "less.csv").write_text("\n".join(kept))
        if complaint:
            assert complaint in refusal(read_scans, tmp_path / "less.csv")
        else:
            assert len(read_scans(tmp_path / "less.csv").scans) == 5


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "column specimen, state, path is missing"),
        ("specimen|state|path\nA|1|a.tif", "columns (specimen|state|path) are not parted"),
        ("specimen,state\nA,1", "column path is missing"),
        ("specimen,state,plane,path\nA,1,ML,a.tif", "column position is missing"),
        ("specimen,state,path,path\nA,1,a.tif,a.tif", "column path stands twice"),
        ("specimen,state,path", "holds no scan"),
        ("specimen,state,path\nA,1,gone.tif\nA,2,a.tif", "line 2: path 'gone.tif' does not exist"),
        ("specimen,state,path\nA,1,a.tif\nA,2,", "line 3: path '' does not exist"),
        ("specimen,state,path\nA,1,a.tif\nA,1,a.tif", "line 3: A state 1 stands already in line 2"),
        ("specimen,state,path\nA,one,a.tif", "line 2: state is 'one'"),
        ("specimen,state,path\nA,1.5,a.tif", "line 2: state is '1.5'"),
        ("specimen,state,path\nA,-1,a.tif", "line 2: state is '-1'"),
        ("specimen,state,path\nA,1,a.tif,surplus", "line 2: more fields than columns"),
        ('specimen,state,path,strain\nA,1,a.tif,"0,01"', "line 2: strain is '0,01'"),
        ("specimen,state,path,strain\nA,1,a.tif,nan", "line 2: strain is 'nan'"),
        ("specimen,state,path,voxel_um\nA,1,a.tif,0", "line 2: voxel_um is '0'"),
        ("specimen,state,path\nA,1,a.tif\nA,2,a.tif", "only one specimen (A)"),
        ("specimen,state,path\nA,1,a.tif\nB,1,a.tif", "only one load state (1)"),
        ("specimen,state,path,voxel_um\nA,1,a.tif,6.5\nA,2,a.tif,65\nB,1,a.tif,\nB,2,a.tif,", "voxel_um differs"),
        (
            "specimen,state,plane,position,path\nA,1,ML,3,a.tif\nA,1,ML,3.0,a.tif",
            "A state 1 plane ML position 3 stands 2",
        ),
        ("specimen,state,plane,position,path\nA,1,ML,,a.tif", "line 2: position is empty"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused_in_one_line(tmp_path, text, complaint):
    (tmp_path / "a.tif").touch()
    (tmp_path / "scans.csv").write_text(text)
    message = refusal(read_scans, tmp_path / "scans.csv")
    assert complaint in message
    assert "scans.csv" in message


SCANS = [("A", 1), ("A", 2), ("B", 1), ("B", 2)]


def table_text(separator=",", head="specimen,state,path", cell=lambda s, t: f"{s},{t},{s}{t}.tif", end="\n"):
    lines = [head, *(cell(s, t) for s, t in SCANS)]
    return end.join(line.replace(",", separator) for line in lines) + end


AS_MEANT = {
    "semicolons": table_text(";"),
    "tabs": table_text("\t"),
    "said": "sep=;\n" + table_text(";"),
    "said in quotes": '"sep=;"\n' + table_text(";"),
    "byte order mark": "\ufeff" + table_text(end="\r\n"),
    "old Macintosh": table_text(end="\r"),
    "UTF-16": table_text().encode("utf-16"),
    "capitals": table_text(head="Specimen,STATE,Path"),
    "comments": "# made by the lab\n\n# twice\n" + table_text(),
    "empty lines": table_text().replace("\nB", "\n\n,,\nB", 1) + ",,\n\n",
    "separators at the end": table_text(head="specimen,state,path,,", cell=lambda s, t: f"{s},{t},{s}{t}.tif,,"),
    "an index": table_text(head=",specimen,state,path", cell=lambda s, t: f"{t},{s},{t},{s}{t}.tif"),
    "backslashes": table_text(cell=lambda s, t: f"{s},{t},.\\{s}{t}.tif"),
    "1.0 as a state": table_text(cell=lambda s, t: f"{s},{t}.0,{s}{t}.tif"),
    "spaces": table_text(cell=lambda s, t: f" {s} , {t} , {s}{t}.tif "),
}


@pytest.fixture
def four(tmp_path):
    for s, t in SCANS:
        (tmp_path / f"{s}{t}.tif").touch()
    return tmp_path


def write_text(folder, text):
    (folder / "scans.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / "scans.csv"


@pytest.mark.parametrize("text", AS_MEANT.values(), ids=AS_MEANT)
def test_a_table_is_read_as_it_is_meant_however_it_is_written(four, text):
    table = read_scans(write_text(four, text))
    assert [(scan.specimen, scan.state) for scan in table.scans] == SCANS
    assert all(Path(scan.source).is_file() for scan in table.scans)
    assert table.notes == ()


def test_decimal_commas_are_read_where_commas_part_no_columns(four):
    text = "specimen;state;path;strain;voxel_um\n" + "".join(f"{s};{t};{s}{t}.tif;0,06{t};6,5\n" for s, t in SCANS)
    table = read_scans(write_text(four, text))
    assert [scan.strain for scan in table.scans] == [0.061, 0.062] * 2
    assert table.voxel_um == 6.5


def test_a_state_with_a_decimal_comma_is_a_whole_number_too(four):
    text = "specimen;state;path\n" + "\n".join(f"{s};{t},0;{s}{t}.tif" for s, t in SCANS)
    assert read_scans(write_text(four, text)).states == (1, 2)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"specimen|state|path\nA|1|A1.tif\n", "columns (specimen|state|path) are not parted; part them by commas"),
        (b"specimen state path\nA 1 A1.tif\n", "columns (specimen state path) are not parted"),
        (b"PK\3\4\x14\0", "is a workbook of a spreadsheet, not a CSV; save its sheet as CSV UTF-8"),
        (b"\xd0\xcf\x11\xe0\xa1", "is a workbook of a spreadsheet"),
        (b"specimen;state;path;strain\nA;1;A1.tif;1.000,5\n", "strain is '1.000,5'; give a number"),
    ],
)
def test_what_is_no_table_or_number_is_told_as_it_stands(four, content, reason):
    (four / "scans.csv").write_bytes(content)
    with pytest.raises(ScanError) as caught:
        read_scans(four / "scans.csv")
    assert reason in str(caught.value)


def test_states_as_words_are_ordered_by_the_user(four):
    words = {1: "intact", 2: "Failed"}
    path = write_text(four, table_text(cell=lambda s, t: f"{s},{words[t]},{s}{t}.tif"))
    assert [scan.state for scan in read_scans(path, ["intact", "failed"]).scans] == [1, 2, 1, 2]
    assert "state is 'intact'" in refusal(read_scans, path)
    assert "--states pristine,…,failed" in refusal(read_scans, path)
    assert "the states are intact, broken" in refusal(read_scans, path, ["intact", "broken"])


def test_a_specimen_may_be_called_by_a_number_sign(four):
    text = table_text(cell=lambda s, t: f"{'#3' if s == 'A' else s},{t},{s}{t}.tif")
    assert read_scans(write_text(four, text)).specimens == ("#3", "B")


@pytest.mark.parametrize("written", ["NFC", "NFD"])
@pytest.mark.parametrize("stored", ["NFC", "NFD"])
def test_a_path_is_found_in_either_form_of_unicode(four, written, stored):
    (four / "A1.tif").rename(four / unicodedata.normalize(stored, "M\u00fcller.tif"))
    text = table_text().replace("A1.tif", unicodedata.normalize(written, "M\u00fcller.tif"))
    assert Path(read_scans(write_text(four, text)).scans[0].source).exists()


def test_one_name_in_two_forms_of_unicode_is_one_specimen(four):
    both = {1: "Mu\u0308ller", 2: "M\u00fcller"}
    rows = [f"{both[t] if s == 'A' else s},{t},{s}{t}.tif" for s, t in SCANS]
    assert read_scans(write_text(four, "specimen,state,path\n" + "\n".join(rows))).specimens == ("B", "M\u00fcller")


@pytest.mark.parametrize(
    ("head", "cell", "note"),
    [
        (
            "specimen,state,path,voxel_size_um",
            "6.5",
            "The column voxel_size_um of the table is not used: is voxel_um meant?",
        ),
        ("specimen,state,path,operator", "me", "The column operator of the table is not used."),
        ("specimen,state,path,strain", "6.5", "If they are per cent, divide by 100"),
        ("specimen,state,path,voxel_um", "0.0065", "voxel_um is 0.0065: micrometres are expected"),
        ("specimen,state,path,voxel_um", "6500", "micrometres are expected"),
        ("specimen,state,path,stress_mpa", "-8e6", "Stresses go to -8e+06: megapascals are expected"),
    ],
)
def test_what_is_not_used_or_hardly_meant_is_noted(four, head, cell, note):
    text = table_text(head=head, cell=lambda s, t: f"{s},{t},{s}{t}.tif,{cell}")
    told = " ".join(read_scans(write_text(four, text)).notes)
    assert note in told


def test_strain_that_is_the_same_in_the_pristine_and_the_failed_scan_is_noted(four):
    text = table_text(
        head="specimen,state,path,strain", cell=lambda s, t: f"{s},{t},{s}{t}.tif,{0.02 if s == 'A' else t}"
    )
    notes = [note for note in read_scans(write_text(four, text)).notes if "the same" in note]
    assert notes == [
        "Strain is the same in the first and the last state of A (0.02): see that the failed scan has its own."
    ]


def test_line_breaks_in_the_head_are_blanks_and_known_columns_are_known(four):
    text = table_text(head='"Specimen\n",state,path,"strain\r\n(of 1)"', cell=lambda s, t: f"{s},{t},{s}{t}.tif,{t}")
    table = read_scans(write_text(four, text))
    assert table.specimens == ("A", "B")
    assert table.notes == ("The column strain (of 1) of the table is not used: is strain meant?",)


@pytest.mark.parametrize(
    ("strains", "fallen"),
    [
        ({("A", 1): 0.06, ("A", 2): 0}, "A state 2 (0.06 to 0)"),
        ({("A", 1): 0, ("A", 2): -0.06, ("B", 1): -0.02, ("B", 2): 0.01}, "B state 2 (-0.02 to 0.01)"),
        ({("A", 1): 0, ("A", 2): -0.06, ("B", 1): 0.01, ("B", 2): 0.06}, None),
        ({("A", 2): 0.06, ("B", 1): 0}, None),
    ],
)
def test_strain_that_falls_as_states_rise_is_noted(four, strains, fallen):
    text = table_text(
        head="specimen,state,path,strain", cell=lambda s, t: f"{s},{t},{s}{t}.tif,{strains.get((s, t), '')}"
    )
    told = [f"Strain falls to {fallen}: see that states rise from pristine to failed, and strain with them."]
    assert list(read_scans(write_text(four, text)).notes) == (told if fallen else [])


def labelled(folder, labels):
    """Scans A of states 1, 2 and 3 and B of states 1 to 4, labelled with the initials of seven labels, `-` for none."""
    words = {"p": "Pristine", "f": "failed", "-": "", "x": "broken"}
    states = [("A", 1), ("A", 2), ("A", 3), ("B", 1), ("B", 2), ("B", 3), ("B", 4)]
    np.save(folder / "a.npy", bone_like(8))
    rows = [
        {"specimen": specimen, "state": state, "label": words[label], "path": "a.npy"}
        for (specimen, state), label in zip(states, labels, strict=True)
    ]
    return write_table(folder, rows)


def test_specimens_may_fail_in_different_states_where_labels_say_so(tmp_path):
    table = read_scans(labelled(tmp_path, "p-fp--f"))
    assert [table.ends(specimen) for specimen in "AB"] == [(1, 3), (1, 4)]
    assert "failed in different states: A in state 3, B in state 4." in table.notes[0]


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        ("-------", "A lacks the last state, 4; add it, label the failed scan of each specimen in a column label, or"),
        ("p-fp---", "B: no scan is labelled failed; label its last, state 4, so, and no other"),
        ("--fp--f", "A: no scan is labelled pristine; label its first, state 1, so, and no other"),
        ("p-fp-f-", "B: state 3 is labelled failed; label its last, state 4, so, and no other"),
        ("p-fp-ff", "B: state 3, 4 is labelled failed; label its last, state 4, so, and no other"),
        ("ppfp--f", "A: state 1, 2 is labelled pristine; label its first, state 1, so, and no other"),
        ("p-fp-xf", "line 7: label is 'broken'; give pristine or failed, or leave it empty"),
    ],
)
def test_labels_that_leave_a_specimen_without_ends_are_refused(tmp_path, labels, complaint):
    assert complaint in refusal(read_scans, labelled(tmp_path, labels))


@pytest.mark.parametrize("label", ["pristine", "failed", ""])
def test_a_specimen_of_one_scan_is_not_asked_for_labels(tmp_path, label):
    (tmp_path / "a.npy").touch()
    rows = [("A", 1, "pristine"), ("A", 2, "failed"), ("B", 1, label)]
    rows = [{"specimen": s, "state": t, "label": word, "path": "a.npy"} for s, t, word in rows]
    message = refusal(read_scans, write_table(tmp_path, rows))
    assert "B has one scan alone, state 1; add its pristine or failed one, or remove B" in message


def test_slices_of_one_scan_have_one_label(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", bone_like(8)[0])
    rows = [
        {
            "specimen": s,
            "state": t,
            "plane": "XY",
            "position": z,
            "path": "a.tif",
            "label": "failed" if t == 2 else "pristine",
        }
        for s in "AB"
        for t in (1, 2)
        for z in (0, 1)
    ]
    assert read_scans(write_table(tmp_path, rows)).ends("B") == (1, 2)
    rows[-1]["label"] = ""
    assert "label differs among the slices of one scan; give one" in refusal(read_scans, write_table(tmp_path, rows))


def test_names_that_may_be_one_are_named(four):
    text = table_text(cell=lambda s, t: f"{'F3' if s == 'A' else 'f-03'},{t},{s}{t}.tif")
    assert read_scans(write_text(four, text)).notes == (
        "F3 and f-03 are taken for two specimens; if they are one, name it alike.",
    )
    halves = {("A", 1): "F3", ("A", 2): "f3", ("B", 1): "B", ("B", 2): "B"}
    text = table_text(cell=lambda s, t: f"{halves[s, t]},{t},{s}{t}.tif")
    assert "or is f3 the same specimen?" in refusal(read_scans, write_text(four, text))


def test_sides_of_voxels_that_differ_by_rounding_are_one(four):
    text = table_text(
        head="specimen,state,path,voxel_um", cell=lambda s, t: f"{s},{t},{s}{t}.tif,{'6.5' if t == 1 else '6.5000001'}"
    )
    assert read_scans(write_text(four, text)).voxel_um == 6.5


@pytest.mark.parametrize("name", ["", "a/b", "a\\b", "..", "a..b", "a|b", "a\x07b", "a\nb", "x" * 300])
def test_a_name_that_could_not_be_a_folder_or_a_key_is_refused(tmp_path, name):
    (tmp_path / "a.tif").touch()
    table = write_table(tmp_path, [{"specimen": name, "state": 1, "path": "a.tif"}])
    assert "line" in refusal(read_scans, table)


def test_a_table_that_is_not_there_or_not_text_is_refused(tmp_path):
    assert "no such file" in refusal(read_scans, tmp_path / "gone.csv")
    (tmp_path / "latin.csv").write_bytes("specimen,state,path\nB\xfcffel,1,a.tif".encode("latin-1"))
    assert "not a CSV in UTF-8" in refusal(read_scans, tmp_path / "latin.csv")


def save(volume, folder: Path, form: str) -> str:
    path = folder / f"Knochen ß {form}"
    if form == "folder":
        return str(write_folder(path, volume))
    if form.startswith("tif"):
        settings = {
            "tif-zlib": {"compression": "zlib"},
            "tif-big-endian": {"byteorder": ">"},
            "tif-bare": {"metadata": None},
        }
        tifffile.imwrite(path.with_suffix(".tif"), volume, photometric="minisblack", **settings.get(form, {}))
        return f"{path}.tif" if path.suffix else str(path.with_suffix(".tif"))
    if form == "npy":
        np.save(path, volume)
        return f"{path}.npy"
    if form.startswith("zarr"):
        zarr.create_array(path.with_suffix(".zarr"), data=volume, zarr_format=int(form[-1]))
        return str(path.with_suffix(".zarr"))
    with h5py.File(f"{path}.h5", "w") as file:
        file.create_dataset("entry/volume ß", data=volume, chunks=(7, 7, 7), compression="gzip")
    return f"{path}.h5::/entry/volume ß"


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "uint32", "float32"])
@pytest.mark.parametrize(
    "form", ["folder", "tif", "tif-zlib", "tif-big-endian", "tif-bare", "npy", "zarr2", "zarr3", "hdf5"]
)
def test_every_format_gives_the_same_voxels_in_the_type_of_the_file(tmp_path, form, dtype):
    truth = bone_like(16, dtype=dtype)
    volume = open_volume(save(truth, tmp_path, form))
    assert (volume.shape, str(volume.dtype)) == (truth.shape, dtype)
    block = volume.read(BOX)
    assert block.dtype == truth.dtype
    assert block.dtype.isnative
    np.testing.assert_array_equal(block, truth[BOX])


def test_the_centre_of_a_folder_is_read_without_its_other_files(tmp_path):
    truth = bone_like(16)
    folder = write_folder(tmp_path / "stack", truth)
    (folder / "section_1.tif").write_bytes(b"")
    box = centred_box(truth.shape, 8)
    np.testing.assert_array_equal(open_volume(str(folder)).read(box), truth[box])
    assert "section_1.tif" in refusal(open_volume(str(folder)).read, centred_box(truth.shape, None))


@pytest.mark.parametrize(
    "settings", [{}, {"compression": "zlib"}, {"compression": "zlib", "metadata": None}, {"metadata": None}]
)
@pytest.mark.parametrize("kept", [0.5, 0.93])
def test_a_truncated_multipage_tiff_is_refused_and_not_read_as_a_shorter_one(tmp_path, settings, kept, caplog):
    path = tmp_path / "cut.tif"
    tifffile.imwrite(path, bone_like(24), photometric="minisblack", **settings)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    assert "cut.tif" in refusal(open_volume, str(path))
    assert not caplog.records
    assert not logging.getLogger("tifffile").handlers


def test_a_damaged_page_of_a_folder_is_refused_by_its_name(tmp_path):
    truth = bone_like(16)
    for name, content in (
        ("cut", None),
        ("text", b"not a tiff"),
        ("other", truth[0, :9]),
        ("type", truth[0].astype("u1")),
    ):
        folder = write_folder(tmp_path / name, truth)
        page = folder / "section_9.tif"
        if isinstance(content, np.ndarray):
            tifffile.imwrite(page, content)
        else:
            page.write_bytes(content or page.read_bytes()[:-50])
        assert "section_9.tif" in refusal(open_volume(str(folder)).read, centred_box(truth.shape, None))


def test_files_that_hold_no_volume_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "void.tif").touch()
    np.save(tmp_path / "flat.npy", np.ones((5, 5), "u2"))
    np.save(tmp_path / "wide.npy", np.ones((5, 5, 5), "i8"))
    np.save(tmp_path / "objects.npy", np.array([[[{}]]], dtype=object))
    tifffile.imwrite(tmp_path / "colour.tif", np.resize(np.arange(9, dtype="u1"), (4, 5, 5, 3)), photometric="rgb")
    zarr.create_group(tmp_path / "group.zarr").create_array("bone", data=np.ones((4, 4, 4), "u1"))
    for name, complaint in (
        ("gone.tif", "no such file"),
        ("empty", "holds no .tif, .tiff, .png"),
        ("notes.txt", "format not known"),
        ("void.tif", "is empty"),
        ("flat.npy", "not a volume"),
        ("wide.npy", "8, 16 or 32 bit"),
        ("objects.npy", "cannot be read"),
        ("colour.tif", "is in colours"),
        ("group.zarr", "group.zarr::bone"),
    ):
        assert complaint in refusal(open_volume, str(tmp_path / name))
    assert open_volume(f"{tmp_path}/group.zarr::bone").shape == (4, 4, 4)


def test_raw_projections_are_refused_by_name(tmp_path):
    with h5py.File(tmp_path / "raw.nxs", "w") as file:
        file["entry1/tomo_entry/data/data"] = np.ones((4, 5, 5), "u2")
        file["entry1/tomo_entry/data/image_key"] = np.zeros(4)
        file["exchange/data"] = np.ones((4, 5, 5), "u2")
        file["entry1/reconstruction/data"] = np.ones((4, 5, 5), "u2")
    for name, sign in (("entry1/tomo_entry/data/data", "image_key"), ("/exchange/data", "Data Exchange")):
        message = refusal(open_volume, f"{tmp_path}/raw.nxs::{name}")
        assert "raw projections" in message
        assert sign in message
    assert open_volume(f"{tmp_path}/raw.nxs::/entry1/reconstruction/data").shape == (4, 5, 5)
    assert "::/entry1/reconstruction/data" in refusal(open_volume, f"{tmp_path}/raw.nxs")


def test_a_slice_image_is_single_channel_page(tmp_path):
    image = bone_like(16)[3]
    tifffile.imwrite(tmp_path / "a.tif", image, byteorder=">")
    np.save(tmp_path / "a.npy", image)
    for name in ("a.tif", "a.npy"):
        np.testing.assert_array_equal(read_image(str(tmp_path / name)), image)
    tifffile.imwrite(tmp_path / "two.tif", bone_like(16)[:2], photometric="minisblack")
    np.save(tmp_path / "deep.npy", bone_like(16))
    assert "2 pages" in refusal(read_image, str(tmp_path / "two.tif"))
    assert "not one single-channel image" in refusal(read_image, str(tmp_path / "deep.npy"))


def test_medical_formats_are_read_or_name_the_extra_that_reads_them(tmp_path):
    path = tmp_path / "scan.mha"
    path.touch()
    try:
        import SimpleITK as sitk  # noqa: N813
    except ImportError:
        assert "pip install 'bonehpo[formats]'" in refusal(open_volume, str(path))
        return
    truth = bone_like(16)
    sitk.WriteImage(sitk.GetImageFromArray(truth), path)
    np.testing.assert_array_equal(open_volume(str(path)).read(BOX), truth[BOX])


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real scans are not on this machine")
def test_real_scans_are_read(tmp_path):
    trabecular = open_volume(str(SHARED_DATA / "human_trabecular" / "cropped"))
    assert trabecular.shape == (200, 200, 200)
    middle = tifffile.imread(SHARED_DATA / "human_trabecular" / "cropped" / "3155_D_4_bc_0100.tif")
    np.testing.assert_array_equal(trabecular.read(centred_box(trabecular.shape, 2))[1], middle[99:101, 99:101])
    small = SHARED_DATA / "small_bone" / "bone_128x128x128.tif"
    assert open_volume(str(small)).shape == (128, 128, 128)
    shutil.copy(small, tmp_path / "cut.tif")
    with (tmp_path / "cut.tif").open("r+b") as file:
        file.truncate(small.stat().st_size // 2)
    assert "truncated" in refusal(open_volume, str(tmp_path / "cut.tif"))
    porcine = read_scans(SHARED_DATA / "porcine_vertebrae" / "slices.csv")
    assert (porcine.kind, len(porcine.scans), len(porcine.scans[0].images)) == ("slices", 10, 8)


def test_donors_are_read_and_may_be_left_out_everywhere(four):
    text = "specimen,state,path,donor\nA,1,A1.tif,D1\nA,2,A2.tif,D1\nB,1,B1.tif,d-1\nB,2,B2.tif,d-1"
    table = read_scans(write_text(four, text))
    assert table.donors == {"A": "D1", "B": "d-1"}
    assert table.notes == ("D1 and d-1 are taken for two donors; if they are one, name it alike.",)
    empty = read_scans(write_text(four, text.replace("D1", "").replace("d-1", "")))
    assert (empty.donors, empty.notes) == ({}, ())


@pytest.mark.parametrize(
    ("donors", "complaint"),
    [
        (
            ("D1", "D2", "D3", "D3"),
            "line 3: donor of A is D2, but D1 in line 2; a specimen is of one donor: correct it",
        ),
        (("D1", "", "D2", "D2"), "line 3: donor of A is empty, but other rows name one; name it in every row"),
        (("D1", "D1", "", ""), "line 4: donor of B is empty, but other rows name one; name it in every row"),
        (("D|1", "D|1", "D2", "D2"), "line 2: donor 'D|1' cannot name a folder"),
        (("D1", "D1", "D1", "D1"), "only one donor (D1); nothing can be held out: add another"),
    ],
)
def test_donors_that_cannot_be_right_are_refused(four, donors, complaint):
    rows = [f"{s},{t},{s}{t}.tif,{donor}" for (s, t), donor in zip(SCANS, donors, strict=True)]
    assert complaint in refusal(read_scans, write_text(four, "\n".join(["specimen,state,path,donor", *rows])))
