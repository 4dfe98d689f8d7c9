"""Judge what a change of transformers does to resuming: the matrix on the tree before it and on the tree after it."""
