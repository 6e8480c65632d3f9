"""Tools: what a recipe lets loose on a view of a part. One file each; everything that judges is one, also a network."""
