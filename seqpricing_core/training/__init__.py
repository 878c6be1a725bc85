"""The training engine: all candidates, seeds and numbers of factors of a window in one pass."""
