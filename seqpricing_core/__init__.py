"""Sequence models for asset pricing: data, panel, models, portfolios, scores. Knows nothing of Dagster."""
