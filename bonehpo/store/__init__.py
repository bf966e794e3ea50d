"""The slice store: a zarr group that is complete and verified, or absent."""
