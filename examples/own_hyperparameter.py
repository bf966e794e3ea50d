# %% [markdown]
# # A hyperparameter of one's own
#
# First one that is in the table already and only has to be searched; then one that is not, added in four places.
# Everything goes into the folder `own-hyperparameter` where the script runs; half a minute on one core.

# %%
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import bonehpo
from bonehpo.hyperparameters import HYPERPARAMETERS

root = Path("own-hyperparameter")

# %% [markdown]
# ## What there is
#
# The four of the paper are searched unless `study.toml` says otherwise. The others are fixed at a value that leaves the
# network as the paper has it.

# %%
for entry in HYPERPARAMETERS:
    searched = "searched" if len(entry.space) > 1 else f"fixed at {entry.text(entry.default)}"
    print(f"{entry.name:<14} {searched:<20} {entry.description}")

# %% [markdown]
# ## Something to search on
#
# Volumes of noise, in the failed ones with dark layers; see [Your own scans](own_scans.py) for real ones.

# %%
SPECIMENS = ("A1", "A2", "A3")


def scan(number: int, state: int) -> np.ndarray:
    """Intensities of one scan, uint8 (z, y, x)."""
    volume = np.random.default_rng([number, state]).normal(120, 25, (24, 24, 24))
    if state == 2:
        volume[number::6] -= 45
        volume[:, number + 2 :: 7] -= 45
    return volume.clip(0, 255).astype(np.uint8)


(root / "scans").mkdir(parents=True, exist_ok=True)
rows = []
for number, specimen in enumerate(SPECIMENS):
    for state in (1, 2):
        np.save(root / "scans" / f"{specimen}-{state}.npy", scan(number, state))
        rows.append({"specimen": specimen, "state": state, "path": f"{specimen}-{state}.npy"})
pd.DataFrame(rows).to_csv(root / "scans" / "scans.csv", index=False)

# %% [markdown]
# ## Search one that is in the table
#
# A list of values in `[space]` is all. Trials, the sweep, importances, figures, MLflow and the report follow. What a
# study was begun with stays: another space is another study.

# %%
SETTINGS = """
[space]
layers = [1]
learning_rate = [1e-3]
kernel = [3]
batch = [8]
filters = [8]
{more}
[baseline]
layers = 1
learning_rate = 1e-3
kernel = 3
batch = 8
filters = 8
[training]
epochs = 3
[search]
sampler = "grid"
"""

dropout = bonehpo.Study(root / "studies" / "dropout", project=root)
steps = bonehpo.Steps(match="none", median=False, n_slices=8)
bonehpo.prepare(root / "scans" / "scans.csv", dropout.folder.path, steps, overwrite=True, workers=0)
dropout.folder.config.write_text(SETTINGS.format(more="dropout = [0.0, 0.5]"))
dropout.search(n_trials=2, workers=0)
print(dropout.trials[["filters", "dropout", "mean_accuracy", "sd"]].round(3).to_string())

# %% [markdown]
# ## Add one that is not
#
# How should each block halve the image: by the largest of 2 × 2 pixels, as in the paper, or by their mean? The table
# gets an entry, the choice and the space a field each, and the network a line. Its default is what was before and never
# changes: then no study and no fit that there is becomes another.
#
# In your checkout you write this into the two files. Here it is done to a copy of the package, which this script leaves
# in `own-hyperparameter/changed`.

# %%
ENTRY = """    Hyperparameter(
        name="pooling",
        label="pooling",
        axis="pooling",
        kind="choice",
        default="max",
        space=("max",),
        examples=("max", "average"),
        changes="network",
        description="What each block takes of 2 × 2 pixels: the largest, or the mean.",
    ),
"""
CHANGES = {
    "hyperparameters.py": [
        (')\n"""All hyperparameters', f'{ENTRY})\n"""All hyperparameters'),
        (
            '    schedule: Schedule = _BY_NAME["schedule"].default\n',
            '    schedule: Schedule = _BY_NAME["schedule"].default\n    pooling: str = _BY_NAME["pooling"].default\n',
        ),
        (
            '    schedule: tuple[Schedule, ...] = _BY_NAME["schedule"].space\n',
            '    schedule: tuple[Schedule, ...] = _BY_NAME["schedule"].space\n'
            '    pooling: tuple[str, ...] = _BY_NAME["pooling"].space\n',
        ),
    ],
    "learning/networks.py": [
        (
            "        x = keras.layers.MaxPooling2D(2, ",
            '        pooling = keras.layers.MaxPooling2D if choice.pooling == "max" else keras.layers.AveragePooling2D\n'
            "        x = pooling(2, ",
        ),
    ],
}

changed = root / "changed" / "bonehpo"
without_cache = shutil.ignore_patterns("__pycache__")
shutil.copytree(Path(bonehpo.__file__).parent, changed, ignore=without_cache, dirs_exist_ok=True)
for name, changes in CHANGES.items():
    text = (changed / name).read_text(encoding="utf-8")
    for before, after in changes:
        assert text.count(before) == 1, f"{name} has changed: {before!r} is not in it once"
        text = text.replace(before, after)
    (changed / name).write_text(text, encoding="utf-8")

# %% [markdown]
# ## Search it
#
# The copy is another bonehpo, so it runs in a Python of its own.

# %%
shutil.copytree(dropout.folder.store, root / "studies" / "pooling" / "slices.zarr", dirs_exist_ok=True)
(root / "studies" / "pooling" / "study.toml").write_text(SETTINGS.format(more='pooling = ["max", "average"]'))
SCRIPT = """
import bonehpo
study = bonehpo.Study("studies/pooling")
study.search(n_trials=2, workers=0)
print(study.trials[["filters", "pooling", "mean_accuracy", "sd"]].round(3).to_string())
"""
environment = os.environ | {"PYTHONPATH": str(changed.parent.absolute())}
command = [sys.executable, "-c", SCRIPT]
answer = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
print(answer.stdout, end="")

# %% [markdown]
# Trial 0 of both studies is the baseline, and scores the same to the last digit: the default of the new hyperparameter
# leaves everything as it was. `make test` in your checkout asks of the new entry what it asks of all: that it changes the
# network, the optimiser or the order of training, that a fit with it is the same in a fresh process and when repeated, and
# that old studies go on without a refit. See [Contributing](../CONTRIBUTING.md).
