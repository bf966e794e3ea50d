"""Everything that bonehpo refuses, as one tree.

Each message is one line: what was wrong, where, and what to do. The command line prints it and exits with code 1.

::

    BonehpoError
    ├── ConfigError          study.toml, flags
    ├── ScanError            scans.csv and the files that it names
    ├── PreparationError     a step that the scans do not allow
    ├── PhantomError         a phantom that cannot be made
    ├── StoreError           a slice store that cannot be used
    │   ├── StoreMissing     there is none
    │   └── StoreDamaged     its bytes are not those that were written
    ├── FoldError            sets that cannot be assigned
    ├── NetworkError         an architecture that cannot be built
    ├── FitError             a training that ended without a usable network
    ├── EngineError          workers or the scheduler
    ├── StudyError           the search and its storage
    │   ├── StudyMissing     a study that has not begun
    │   └── ResultMissing    a result that has not been made; a KeyError too
    ├── TrackingError        MLflow
    └── PromotionRefused     the gate of `bonehpo promote`
"""

MAX_LENGTH = 900
"""Characters of a refusal; of a longer one the middle is left out."""


def printable(text: str) -> str:
    """The text in one line that no terminal obeys: characters that cannot be printed are written as Python writes them."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class BonehpoError(Exception):
    """A refusal that the user can act on: one line, whatever the file held that it quotes."""

    def __str__(self) -> str:
        text = printable(super().__str__())
        return text if len(text) <= MAX_LENGTH else f"{text[: MAX_LENGTH // 2]} … {text[-MAX_LENGTH // 2 :]}"


class ConfigError(BonehpoError):
    """study.toml or a flag holds something that cannot be meant."""


class ScanError(BonehpoError):
    """scans.csv, or a file that it names, cannot be used."""


class PreparationError(BonehpoError):
    """A preparation step asks for more than the scans hold."""


class PhantomError(BonehpoError):
    """A phantom cannot be made as asked."""


class StoreError(BonehpoError):
    """A slice store cannot be used."""


class StoreMissing(StoreError):
    """There is no slice store where one is needed."""


class StoreDamaged(StoreError):
    """Bytes of a slice store differ from those that its manifest lists."""


class FoldError(BonehpoError):
    """Sets cannot be assigned into training, validation and test."""


class NetworkError(BonehpoError):
    """An architecture cannot be built for the given images."""


class FitError(BonehpoError):
    """A training ended without a usable network: it diverged, or memory ran out."""


class EngineError(BonehpoError):
    """Workers cannot be started or reached."""


class StudyError(BonehpoError):
    """The search cannot go on: its storage, its store or its space does not fit."""


class StudyMissing(StudyError):
    """A study has no trials yet."""


class ResultMissing(StudyError, KeyError):
    """A result of a study has not been made, or was made from another optimum."""

    __str__ = Exception.__str__  # a KeyError would put its message into quotes


class TrackingError(BonehpoError):
    """MLflow cannot be opened or written."""


class PromotionRefused(BonehpoError):
    """The optimum does not pass the gate of promotion."""
