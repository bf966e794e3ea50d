"""Synthetic specimens under load whose damage is known voxel by voxel.

A phantom is a known answer for the rest of the product: micro-CT-like scans of cortical (CB) or trabecular (TB) bone at
rising compression, with a truth mask for each scan. It tests methods; it says nothing about bone.
"""

from bonehpo.phantom.simulation import SCANS_CSV, SPEC_JSON, write_phantom
from bonehpo.phantom.spec import PhantomSpec

__all__ = ["SCANS_CSV", "SPEC_JSON", "PhantomSpec", "write_phantom"]
