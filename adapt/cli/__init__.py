"""The commands: the only place that knows Hydra, and the only one that imports viz."""
