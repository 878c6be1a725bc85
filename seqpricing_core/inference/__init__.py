"""How sure the scores are: tests of differences, alphas, intervals. One method, one file.

`study_inference.compute_inference` runs them on a study's tables. scipy, statsmodels, arch and linearmodels
are imported inside functions: they take seconds to load, and a study that is only loaded needs none.
"""
