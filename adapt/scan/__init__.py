"""The scan command: a data set or pair list looked at in full before a long run.

Light on purpose: worker processes import this package.
"""
