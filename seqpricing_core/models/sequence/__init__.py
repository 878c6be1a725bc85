"""The seven networks of *sequence* (Cong, Tang, Wang, Zhang, *Deep sequence modeling*).

One file each; `predictor` fits them.
"""
