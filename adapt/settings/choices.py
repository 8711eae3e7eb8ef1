"""The names that settings choose from; each table of functions has the same keys (tested)."""

RESTYLES = ("histogram", "fda")
"""adapt.evaluation.restyle: new images in the old domain's look."""

NORMALISATIONS = ("sum", "mean")
"""Of Fisher information: adapt.penalties.fisher."""

HASH_BITS = 256
"""Of the hashes by which `scan` finds near-duplicates."""

TEACHER, B0, ADABN, B1, B2 = "teacher", "B0", "AdaBN", "B1", "B2"
BASELINES = (TEACHER, B0, ADABN, *RESTYLES, B1, B2)
"""In the order of tables and figures; AdaBN and the restylings need no training."""

FILTERS = ("photocopy", "ripple", "cubism")
"""transforms: the filters that make the new domains."""
