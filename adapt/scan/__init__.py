"""The scan command: a data set or pair list looked at in full before a long run."""
