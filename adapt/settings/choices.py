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

DATASETS = (
    "scenes", "camvid", "voc", "cityscapes", "pairs", "caltech256", "indoor67", "dogs120",
    "food101", "folders",
)  # fmt: skip
"""adapt.data: the layouts of files that are read."""
