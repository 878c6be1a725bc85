"""The seven networks of Cong, Tang, Wang, Zhang, *Deep sequence modeling: development and applications in asset
pricing*: one file each, and `predictor`, which fits them."""
