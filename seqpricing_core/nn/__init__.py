"""Network blocks: the only folder, with `training`, that imports torch at the top."""
