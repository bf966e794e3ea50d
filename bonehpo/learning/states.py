"""What a trained network says of its held-out sets at every load state: the raw material of detection limits."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bonehpo.domain import HoldoutPair
from bonehpo.errors import StudyError
from bonehpo.learning.fits import write_durably
from bonehpo.learning.learners import Learner
from bonehpo.learning.specs import FitTask
from bonehpo.store.images import open_store


class StateAnswers(NamedTuple):
    """Columns of equal length (slice,): the slices of both held-out sets at all load states, and what was said of them.

    `held_out` is 0 for the first set of the pair and 1 for the second; `output` as in `Predictions`.
    """

    held_out: npt.NDArray[np.int64]
    specimen: npt.NDArray[np.str_]
    state: npt.NDArray[np.int64]
    plane: npt.NDArray[np.str_]
    position: npt.NDArray[np.int64]
    output: npt.NDArray[np.float32]

    def p_failed(self, pair: HoldoutPair, name: str) -> dict[int, npt.NDArray[np.float32]]:
        """For each load state the outputs (slice,) on one set of the pair."""
        mine = self.held_out == pair.index(name)
        return {int(state): self.output[mine & (self.state == state)] for state in np.unique(self.state[mine])}


def answer_states(learner: Learner, task: FitTask, held_out: int) -> StateAnswers:
    """Ask a trained network about every load state of one of its held-out sets, a group of slices in memory at a time."""
    store = open_store(task.store, task.spec.store_id)
    n = store.n_slices
    keys = [
        (held_out, group.specimen, state, group.plane)
        for group in task.spec.sets[task.spec.pair[held_out]]
        for state in store.states
        if store.has(group.specimen, state)
    ]
    return StateAnswers(
        held_out=np.repeat([key[0] for key in keys], n),
        specimen=np.repeat([key[1] for key in keys], n),
        state=np.repeat([key[2] for key in keys], n),
        plane=np.repeat([key[3] for key in keys], n),
        position=np.tile(np.arange(n), len(keys)),
        output=np.concatenate([learner.answers(store.group(*key[1:])) for key in keys]),
    )


def join_answers(answers: Sequence[StateAnswers]) -> StateAnswers:
    """Answers on several sets, one after the other."""
    return StateAnswers(*(np.concatenate(columns) for columns in zip(*answers, strict=True)))


def save_states(answers: StateAnswers, path: Path) -> None:
    """Write answers durably.

    Raises:
        StudyError: The file cannot be written.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **answers._asdict())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, buffer.getvalue())
    except OSError as error:
        raise StudyError(f"{path} cannot be written: {error.strerror}: make room there and run it again") from error


def load_states(path: Path) -> StateAnswers:
    """Read what `save_states` wrote.

    Raises:
        StudyError: It is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return StateAnswers(**{name: file[name] for name in StateAnswers._fields})
    except (OSError, ValueError, KeyError) as error:
        raise StudyError(f"{path} cannot be read ({error}): remove it, and run the same command again") from error
