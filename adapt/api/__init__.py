"""The method from Python: `fit` and `load` as the commands do it, and its parts for one's own loop.

The names that `adapt` itself offers are taken from here when they are first used.
"""
