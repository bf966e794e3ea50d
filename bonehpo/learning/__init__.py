"""Networks, their training, and what they are scored by. The only importer of keras."""
