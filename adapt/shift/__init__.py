"""A data set's shifted twin, and how strong a shift is for a network."""
