"""Files of a slice store as they lie on disk: which there are, their hashes, and what is wrong with one."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bonehpo.data.layout import Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One file of a store that is not what was written.

    Attributes:
        path: Inside the store.
        what: What is wrong with it.
        specimen: Whose voxels it holds; None for metadata and coordinates.
        state: Of which load state.
        array: In which array: `slices`, `damage` or `preview`.
        plane: Cut in which plane; None for a preview.
    """

    path: str
    what: str
    specimen: str | None = None
    state: int | None = None
    array: str | None = None
    plane: str | None = None

    @property
    def message(self) -> str:
        """One line: whose voxels, in which file, what is wrong."""
        if self.specimen is None or self.state is None or self.array is None:
            return f"{self.path}: {self.what}"
        return f"{Place(self.specimen, self.state, self.array, self.plane).name} ({self.path}): {self.what}"


def list_files(folder: Path) -> Iterator[str]:
    """All files under a folder, as paths relative to it, in a fixed order."""
    return (path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file())


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
