"""Sequence models for asset pricing: data, panel, models, portfolios, scores. Knows nothing of Dagster."""

import os

# MKL otherwise lets the last bit of a product depend on where its factors lie in memory, which is not the
# same in every run. It reads this at its first product.
os.environ.setdefault("MKL_CBWR", "AUTO")
