"""The pores of cortical bone, and the osteons round them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bonehpo.data.phantom.fields import Field, Wavelength, centred_axis, gaussian_field
from bonehpo.data.phantom.spec import PhantomSpec

HAVERSIAN_PER_MM2 = (5.0, 11.0)
HAVERSIAN_DIAMETER_UM = 62.0
OSTEON_RADIUS_UM = 115.0
N_VOLKMANN = 6
LACUNAE_PER_MM3 = 18_000.0
LACUNA_UM3 = 420.0


class CorticalPores(NamedTuple):
    """Where cortical bone is open, and how grey the tissue is between.

    Attributes:
        open: Voxels of canals and of lacunae that fill their voxel, (n, n, n).
        tissue: Grey of the tissue relative to its mean: osteons, cement lines, lamellae, unresolved lacunae.
    """

    open: NDArray[np.bool_]
    tissue: Field


class Canals(NamedTuple):
    """Haversian canals: centre of each at each z, radius and age of each.

    Attributes:
        y: (n_canals, n) positions in voxels.
        x: (n_canals, n).
        radius: (n_canals,) voxels.
        grey: (n_canals,) grey of the osteon relative to the old matrix.
    """

    y: Field
    x: Field
    radius: Field
    grey: Field


def cortical_pores(spec: PhantomSpec, porosity: float, rng: np.random.Generator) -> CorticalPores:
    """Draw canals and lacunae that together take up `porosity` of the volume that is shown."""
    side, margin = spec.side + 2 * spec.margin, spec.margin
    canals = draw_canals(spec, rng)
    score, tissue = osteons(spec, canals)
    np.minimum(score, volkmann_score(spec, canals, rng), out=score)
    score *= np.exp(0.3 * gaussian_field(side, Wavelength(0.4 * spec.side, 0.15 * spec.side, 0.15 * spec.side), rng))
    lacunae = rng.random((side, side, side), dtype=np.float32) < LACUNAE_PER_MM3 * (spec.voxel_um / 1000) ** 3
    filled = min(1.0, LACUNA_UM3 / spec.voxel_um**3)
    tissue -= 0.45 * filled * lacunae
    shown = (slice(margin, -margin),) * 3
    of_lacunae = float(lacunae[shown].mean()) if filled > 0.5 else 0.0
    pores = score < np.quantile(score[shown], max(porosity - of_lacunae, 0.0))
    return CorticalPores(pores | lacunae if filled > 0.5 else pores, tissue)


def draw_canals(spec: PhantomSpec, rng: np.random.Generator) -> Canals:
    """Scatter canals that keep their distance and wander a little along z."""
    side = spec.side + 2 * spec.margin
    edge_mm = side * spec.voxel_um / 1000
    n_canals = round(rng.uniform(*HAVERSIAN_PER_MM2) * edge_mm**2)
    starts = scatter(n_canals, side, rng)
    z = centred_axis(side) / spec.side
    tilt = rng.normal(0, 0.06, (2, n_canals, 1))
    phase = rng.uniform(0, 2 * np.pi, (2, n_canals, 1))
    wander = spec.side * (tilt * z + 0.012 * np.sin(2 * np.pi * 1.3 * z + phase))
    y, x = (starts[:, :, None] + wander).astype(np.float32)
    radius = HAVERSIAN_DIAMETER_UM / 2 / spec.voxel_um * rng.lognormal(0, rng.uniform(0.25, 0.5), n_canals)
    young = rng.random(n_canals) < rng.uniform(0.1, 0.6)
    grey = -np.where(young, rng.uniform(0.06, 0.17, n_canals), rng.uniform(0.0, 0.05, n_canals))
    return Canals(y, x, radius.astype(np.float32), grey.astype(np.float32))


def scatter(n: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Place `n` points in a square, each the farthest from the others among ten candidates (Mitchell's best candidate).

    Returns:
        (2, n): y and x in voxels.
    """
    points = rng.uniform(0, side, (1, 2))
    for _ in range(n - 1):
        candidates = rng.uniform(0, side, (10, 2))
        nearest = np.linalg.norm(candidates[:, None] - points[None], axis=2).min(axis=1)
        points = np.vstack([points, candidates[nearest.argmax()]])
    return np.ascontiguousarray(points.T)


class Osteons(NamedTuple):
    """Distance to the nearest canal in units of its radius, and the relative grey of the tissue."""

    score: Field
    tissue: Field


def osteons(spec: PhantomSpec, canals: Canals) -> Osteons:
    """Lay an osteon round each canal: lamellae, and a bright cement line at its border."""
    side = spec.side + 2 * spec.margin
    score, tissue = np.empty((2, side, side, side), np.float32)
    y, x = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32), indexing="ij")
    border = OSTEON_RADIUS_UM / spec.voxel_um
    lamella = 42.0 / spec.voxel_um
    line = max(6.0 / spec.voxel_um, 0.7)
    for level in range(side):
        nearest = np.full((side, side), np.inf, np.float32)
        owner = np.zeros((side, side), np.intp)
        for canal in range(len(canals.radius)):
            distance = (y - canals.y[canal, level]) ** 2 + (x - canals.x[canal, level]) ** 2
            closer = distance < nearest
            nearest[closer] = distance[closer]
            owner[closer] = canal
        np.sqrt(nearest, out=nearest)
        score[level] = nearest / canals.radius[owner]
        rim = border * (0.75 + 0.5 * ((owner * 0.618) % 1).astype(np.float32))
        inside = nearest < rim
        rings = 0.008 * np.sin(2 * np.pi * nearest / lamella)
        tissue[level] = np.where(inside, canals.grey[owner] + rings, 0.0)
        tissue[level] += 0.03 * np.exp(-(((nearest - rim) / line) ** 2))
    return Osteons(score, tissue)


def volkmann_score(spec: PhantomSpec, canals: Canals, rng: np.random.Generator) -> Field:
    """Distance to the nearest transverse canal in units of its radius; each joins two Haversian canals."""
    side = spec.side + 2 * spec.margin
    score = np.full((side, side, side), np.inf, np.float32)
    z, y, x = np.meshgrid(*(np.arange(side, dtype=np.float32),) * 3, indexing="ij", sparse=True)
    radius = 0.3 * HAVERSIAN_DIAMETER_UM / spec.voxel_um
    for _ in range(N_VOLKMANN):
        level = int(rng.integers(spec.margin, side - spec.margin))
        first = int(rng.integers(len(canals.radius)))
        gaps = np.hypot(canals.y[:, level] - canals.y[first, level], canals.x[:, level] - canals.x[first, level])
        second = int(np.argsort(gaps)[min(3, len(gaps) - 1)])
        start = np.array([level, canals.y[first, level], canals.x[first, level]], np.float32)
        along = np.array([rng.normal(0, 0.08 * side), *(0, 0)], np.float32)
        along[1:] = canals.y[second, level] - start[1], canals.x[second, level] - start[2]
        share = (z - start[0]) * along[0] + (y - start[1]) * along[1] + (x - start[2]) * along[2]
        share = np.clip(share / np.float32(along @ along), 0, 1)
        distance = (z - start[0] - share * along[0]) ** 2 + (y - start[1] - share * along[1]) ** 2
        distance += (x - start[2] - share * along[2]) ** 2
        np.minimum(score, np.sqrt(distance) / radius, out=score)
    return score
