# %% [markdown]
# # Your own scans
#
# From volumes on disk to a search: a table of scans, a slice store, a look at it, a study. Everything here is tiny, and
# goes into the folder `own-scans` where the script runs; half a minute on one core.

# %%
import os
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

import bonehpo

root = Path("own-scans")
figures = Path(os.environ.get("BONEHPO_FIGURES", root))

# %% [markdown]
# ## Scans
#
# You have these already, so leave this cell out. It makes three pieces of something porous, each scanned intact, loaded
# and failed; through the failed ones run cracks. A scan may be a folder of TIFFs, a multipage TIFF, `.npy`, `.zarr` or
# `FILE.h5::/dataset`, of 8, 16 or 32 bit.

# %%
SIDE = 48
STRAINS = {1: 0.0, 2: 0.02, 3: 0.06}


def scan(specimen: int, state: int) -> np.ndarray:
    """Intensities of one scan, uint16 (z, y, x): as much material whether there are cracks or not."""
    field = gaussian_filter(np.random.default_rng(specimen).standard_normal((SIDE,) * 3), 2.5)
    z, y, x = np.indices(field.shape)
    failed = state == max(STRAINS)
    cracked = failed & (((z + x // 2 + 5 * specimen) % 16 < 3) | ((y - z // 3) % 20 < 3))
    level = np.quantile(field[~cracked], 1 - 0.5 * field.size / (~cracked).sum())
    noise = np.random.default_rng([specimen, state]).normal(0, 1500, field.shape)
    return (np.where((field > level) & ~cracked, 30_000, 12_000) + noise).astype(np.uint16)


(root / "scans").mkdir(parents=True, exist_ok=True)
rows = []
for specimen in (1, 2, 3):
    for state, strain in STRAINS.items():
        file = root / "scans" / f"bone{specimen}-{state}.npy"
        np.save(file, scan(specimen, state))
        rows.append({"specimen": f"bone{specimen}", "state": state, "path": file.name, "strain": strain})

# %% [markdown]
# ## The table of scans
#
# One row a scan: which specimen, which load state (1 is pristine, the last is failed), where the file is, seen from the
# table. What is known besides stands in further columns: `strain`, `stress_mpa`, `voxel_um`.

# %%
table = pd.DataFrame(rows)
table.to_csv(root / "scans" / "scans.csv", index=False)
print(table.head(3).to_string(index=False))

# %% [markdown]
# ## The slice store
#
# Every scan is cropped, matched to the histogram of the first, filtered, and cut into slices along three planes, as in
# the paper. `Steps` has more to say; without it slices are 200 × 200 pixels, 300 a plane. With `workers=None` there is
# one process per core; 0 works in this one.

# %%
store = bonehpo.prepare(
    root / "scans" / "scans.csv",
    root / "studies" / "mine",
    bonehpo.Steps(side=32, n_slices=12),
    overwrite=True,
    workers=0,
)
print(f"{', '.join(store.specimens)}, load states {store.states}, {store.n_slices} slices in each of {store.planes}")
for note in store.notes:
    print(f"Note: {note}")
for specimen in store.specimens:
    record = store.scan(specimen, 1)
    print(f"{specimen}: bone volume fraction {record.bone_volume_fraction:.3f}, porosity {record.porosity:.3f}")

# %% [markdown]
# ## A look at it
#
# The montage shows each specimen pristine and failed, in each plane. Look at it before you search: a scan that is
# upside down or of another brightness is seen here, and learnt by a network.

# %%
study = bonehpo.Study(root / "studies" / "mine", project=root)
figures.mkdir(parents=True, exist_ok=True)
study.inspect(montage=figures / "own_scans-montage.png")

# %% [markdown]
# ![The three specimens, pristine and failed](own_scans-montage.png)
#
# ## The search
#
# *What* is searched stands in `study.toml`; what is not named there is as in the paper. Here it is less: two values of
# two hyperparameters, a few epochs. *How* it is run is said in the call. A search that is interrupted goes on with the
# same call.

# %%
study.folder.config.write_text("""
bone = "mine"
[space]
layers = [2, 3]
learning_rate = [1e-3, 3e-3]
kernel = [3]
batch = [10]
filters = [8]
[baseline]
layers = 2
learning_rate = 1e-3
kernel = 3
batch = 10
filters = 8
[training]
epochs = 6
[search]
sampler = "grid"
""")


def show(at: bonehpo.Progress) -> None:
    """Print the end of each trial."""
    if isinstance(at, bonehpo.SearchProgress) and at.fit == at.n_fits:
        print(f"{at.done} of {at.total} fits: {at.what}")


study.search(n_trials=4, workers=0, progress=show, note=print)

# %%
print(study.trials[["layers", "learning_rate", "mean_accuracy", "sd", "state"]].round(3).to_string())

# %% [markdown]
# ## How accurate is that?
#
# The best mean over folds flatters: the search maximised it. The nested accuracy is that of a specimen that neither
# training nor the choice has seen. With three specimens its interval is wide, and honest about it.

# %%
found = study.estimates
print(
    f"best trial: {found.trial}, apparent accuracy {found.apparent_score:.3f}, nested accuracy {found.nested_score:.3f}"
)
print(f"at least {found.nested_score_bound:.3f} (one-sided 95 %)")

# %% [markdown]
# ## Can it be believed?
#
# Models that cannot see a crack were asked the same at the end of the search. Here one of them does as well as the
# network: our cracks take material out of the slices that they cross, and the brightness of a slice tells as much. Of
# scans like these no accuracy shows that a network sees damage; better say so before a reviewer does.

# %%
for sentence in study.results["audit"].sentences[:2]:
    print(sentence)
