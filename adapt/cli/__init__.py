"""The commands: the only place that knows Hydra; only it and adapt.api import viz."""
