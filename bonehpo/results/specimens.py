"""The specimens of a store: what was measured of every scan, as a result."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pandas as pd

from bonehpo.config import StudyFolder
from bonehpo.domain import specimens_in_words
from bonehpo.results.result import Result, address_of, made_once
from bonehpo.store.store import SliceStore

NAME = "specimens"

COLUMNS = (
    "specimen",
    "state",
    "strain",
    "stress_mpa",
    "bone_volume_fraction",
    "porosity",
    "trabecular_thickness_um",
    "trabecular_spacing_um",
    "degree_of_anisotropy",
)


def specimens_address(store_id: str) -> str:
    """Content address of what the measures are made from: the store alone."""
    return address_of(NAME, store_id)


def specimens_result(store: SliceStore, study: str) -> Result:
    """Measures of every scan, as the result `specimens` of a study.

    Args:
        store: Its slice store.
        study: Name of the study.
    """
    table = pd.DataFrame(
        [[getattr(scan, column) for column in COLUMNS] for scan in store.manifest.scans], columns=list(COLUMNS)
    )
    numbers = table.columns.drop(["specimen", "state"])
    table[numbers] = table[numbers].astype(float)
    pristine = table[table["state"] == store.states[0]]
    failed = sorted({store.ends(specimen)[1] for specimen in store.specimens})
    return Result(
        name=NAME,
        level="explanation",
        inputs=specimens_address(store.id),
        study=study,
        bone=store.bone,
        store_id=store.id,
        ran_on="phantom" if store.is_phantom else "scans",
        parameters={"pristine": str(store.states[0]), "failed": ", ".join(map(str, failed))},
        metrics={f"pristine_{name}": float(pristine[name].mean()) for name in COLUMNS[4:] if pristine[name].any()},
        sentences=_sentences(pristine, "volume" if store.has_preview else "slices", store.donors),
        tables={"scans": table},
        finished=datetime.now(UTC),
    )


def make_specimens(store: SliceStore, folder: StudyFolder) -> Result:
    """Measures of the specimens of a store, saved once as a result of the study in a folder.

    Raises:
        StudyError: It cannot be written.
    """
    return made_once(folder, NAME, specimens_address(store.id), lambda: specimens_result(store, folder.name))


def pristine_scans(scans: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first load state."""
    return scans[scans["state"].eq(scans["state"].min())]


def _sentences(pristine: pd.DataFrame, what: str, donors: Mapping[str, str]) -> tuple[str, ...]:
    fractions = 100 * pristine.set_index("specimen")["bone_volume_fraction"].astype(float).dropna()
    if fractions.empty:
        return ("No scan has two phases: bone volume fraction, thickness and anisotropy are not measured.",)
    said = [
        f"Pristine bone fills {fractions.min():.1f} % ({fractions.idxmin()}) to {fractions.max():.1f} % "
        f"({fractions.idxmax()}) of the {what}; porosity {100 - fractions.mean():.1f} ± {fractions.std():.1f} %."
    ]
    for name, form in _SENTENCES.items():
        values = pristine[name].dropna()
        if len(values) > 1:
            counted = specimens_in_words(pristine.loc[values.index, "specimen"].tolist(), donors, "pristine ")
            said.append(f"{form.format(values.mean(), values.std())} (mean ± sd of {counted}).")
    return tuple(said)


_SENTENCES = {
    "trabecular_thickness_um": "Trabecular thickness {:.0f} ± {:.0f} µm",
    "degree_of_anisotropy": "Degree of anisotropy {:.2f} ± {:.2f}",
}
