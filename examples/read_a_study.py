# %% [markdown]
# # A study in pandas and matplotlib
#
# Trials, folds, estimates and results of a study as tables and figures of one's own. Everything goes into the folder
# `read-a-study` where the script runs; half a minute on one core.

# %%
import os
from pathlib import Path

import matplotlib

matplotlib.use("agg")  # draw into files; leave this line out in a notebook
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bonehpo

root = Path("read-a-study")
figures = Path(os.environ.get("BONEHPO_FIGURES", root))

# %% [markdown]
# ## A study to read
#
# `bonehpo.Study("studies/TB")` is all that is needed where there is one. This cell makes a small one, of volumes of
# noise in which dark layers stand for cracks: the more load, the darker, and less so in the third specimen.

# %%
study = bonehpo.Study(root / "studies" / "TB", project=root)
SPECIMENS, STRAINS = {"TB5": 1.0, "TB6": 1.0, "TB9": 0.6}, (0.0, 0.01, 0.02, 0.04, 0.06)


def scan(number: int, state: int, brittleness: float) -> np.ndarray:
    """Intensities of one scan, uint8 (z, y, x)."""
    volume = np.random.default_rng([number, state]).normal(120, 25, (32, 32, 32))
    damage = brittleness * 60 * (STRAINS[state - 1] / STRAINS[-1]) ** 2
    volume[number::6] -= damage
    volume[:, number + 2 :: 7] -= damage
    return volume.clip(0, 255).astype(np.uint8)


if not study.folder.store.exists():
    (root / "scans").mkdir(parents=True)
    rows = []
    for number, (specimen, brittleness) in enumerate(SPECIMENS.items()):
        for state, strain in enumerate(STRAINS, start=1):
            np.save(root / "scans" / f"{specimen}-{state}.npy", scan(number, state, brittleness))
            rows.append({"specimen": specimen, "state": state, "path": f"{specimen}-{state}.npy", "strain": strain})
    pd.DataFrame(rows).to_csv(root / "scans" / "scans.csv", index=False)
    steps = bonehpo.Steps(match="none", median=False, n_slices=10)
    bonehpo.prepare(root / "scans" / "scans.csv", study.folder.path, steps, workers=0)

study.folder.config.write_text("""
bone = "TB"
[space]
layers = [1, 2]
learning_rate = [3e-4, 1e-3]
kernel = [3]
batch = [10]
filters = [8]
[baseline]
layers = 1
learning_rate = 3e-4
kernel = 3
batch = 10
filters = 8
[training]
epochs = 5
[search]
sampler = "grid"
""")
study.search(n_trials=4, workers=0)

# %% [markdown]
# ## Trials
#
# A row for each trial, its number as the index: hyperparameters, the mean accuracy over its folds, and the mean on each
# test set.

# %%
trials = study.trials.sort_values("mean_accuracy", ascending=False)
print(trials.drop(columns=["n_parameters", "n_folds", "state", "reason"]).to_string(float_format="{:.4g}".format))

# %% [markdown]
# ## Folds
#
# A row for each fold of each complete trial. A set is tested in as many folds as there are others to validate on, so
# that a table of test against validation set shows how far the sets differ. They differ by more than trials do: that is
# why the unit of every statistic is the specimen.

# %%
folds = study.folds
best = folds[folds["trial"] == study.estimates.trial]
print(best.pivot(index="test", columns="validation", values="test_accuracy").round(3).to_string())
print(folds.groupby("test")["test_accuracy"].agg(["mean", "std"]).round(3).to_string())

# %% [markdown]
# ## Estimates
#
# The apparent accuracy is that of the best trial, as the paper reports it; the nested one that of the whole procedure
# on a specimen that it has not seen. Between them lies the optimism of the search.

# %%
found = study.estimates
print(f"apparent {found.apparent_score:.3f}, nested {found.nested_score:.3f}, optimism {found.gap:+.3f}")
print(f"optimum: trial {study.optimum.trial}, with fresh seeds {study.optimum.refit_score:.3f}")
print(trials.loc[[study.optimum.trial], ["layers", "learning_rate", "kernel", "batch"]].to_string())

# %% [markdown]
# ## Results
#
# `run` makes one of the comparisons and explanations; `results` holds those that are of this store and this optimum.
# Each has `tables`, `metrics`, `sentences` and `figures`. The detection limits ask the networks about every load state.

# %%
limits = study.run("detection", workers=0)
print(sorted(study.results))
print(limits.sentences[0])
print(limits.tables["mean"].round(3).to_string(index=False))
print(f"drawn already: {', '.join(path.name for path in limits.figures.values())}")

# %% [markdown]
# ## A figure of one's own
#
# On the left each test set in each trial; on the right how often the optimum's networks tell each load state of a
# specimen from its pristine one, of specimens that they were not trained on.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for number, name in enumerate(folds["test"].unique()):
    rows = folds[folds["test"] == name]
    left.plot(rows["trial"] + 0.15 * (number - 1), rows["test_accuracy"], "o^s"[number], label=name, fillstyle="none")
left.plot(study.trials.index, study.trials["mean_accuracy"], "_", color="black", markersize=24, label="mean")
left.set(xlabel="trial", ylabel="test accuracy of a fold", xticks=study.trials.index)
left.legend(fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1))
for name, rows in limits.tables["states"].groupby("test"):
    by_strain = rows.groupby("strain")["accuracy"].mean()
    right.plot(100 * by_strain.index, by_strain, marker="o", label=name)
right.set(xlabel="apparent strain (%)", ylabel="accuracy", ylim=(0.4, 1.03))
right.legend(fontsize=8)
figures.mkdir(parents=True, exist_ok=True)
figure.savefig(figures / "read_a_study.png", dpi=150)

# %% [markdown]
# ![Test accuracies of all folds, and the accuracy over load states](read_a_study.png)
