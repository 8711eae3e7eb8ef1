"""What the page of results says in words, and what it calls runs; no figures of ours stand here."""

TITLE = (
    "# Results\n\nDoes it work, on real photographs? Written by `python -m results.page` from "
    "the records in `results/evidence`; no number is typed. Studies whose "
    "experiment is no longer in configs/experiment (camvid_evidence with `_gap`, `_rates`, "
    "`_draws`, `_short`, `_fp32` or `_defaults`) were made with that of commit df29b61."
)
JUDGED = (
    "A comparison holds where every seed's difference lies on the claimed side, fails where none "
    "does."
)
SHIFTS = (
    "Distortion of the teachers as in 003, section 4.1, in percent; the paper's are 32.5, 62.6 and "
    "94.0. Parameters are chosen on `tune` for the first seed's shared teacher, and serve all."
)
STRENGTHS = "mIoU, shared pairs."
RATES = (
    "The first seed, shared pairs. `chosen` has the highest mean over the shifts of label-free "
    "agreement on `tune`; B2, which has labels, that of mIoU."
)
LONGER = (
    "mIoU on val, shared pairs: with the steps that everything above has, and with those that the "
    "teacher and B1 have; rates as chosen for the fewer."
)
PRECISION = (
    "mIoU on val, shared pairs: the same teachers, order and crops, trained and scored in each "
    "precision."
)
DRAWS = (
    "mIoU on val, shared pairs. Until 2026-11-21 a crop's row and its mirroring were drawn from "
    "one number, so that windows of the upper rows were mirrored and none of the lower; since then "
    "they are drawn apart. The same teachers, rates and steps with both:"
)
WORTH = (
    "B2 with 5, 10, 25, 50 and 100 % of the labels, the smaller shares within the larger, each 500 "
    "steps at the rate that its labels on `tune` choose."
)
OFF = (
    "mIoU on val, which is not moved, of students with W_inc + kd on photocopies, shared pairs, "
    "250 steps (experiment `camvid_misalignment`): x2 of every training pair is moved by so many "
    "of its 480x360 pixels, and `align` finds out by how many."
)
SWEEP = (
    "pool5 on GEGL's default photocopies, with batch norm free to move (`bn=train`) and frozen "
    "(`bn=eval`)."
)
FEATURES = (
    "Maps of the photographs' twins against the teacher's maps of the photographs: squared "
    "distance relative to the teacher's, and the median over units of R2; before adapting (the "
    "teacher sees x2) and after (the student with pool5 regressed does). fp32, val."
)
DISJOINT = (
    "The paper's teacher has learned the labels of the very images that it teaches from, which "
    "flatters everything without labels. Here it has learned one half of the training images, "
    "pairs are the other half, and B2 has the labels of that half."
)
MOVED = (
    "The same scored against labels that follow what ripple and cubism move (void where an image "
    "shows none of the scene):"
)
SETTING = (
    "Every figure is of the {val} validation images, unless it says `tune`. Width-1/4 "
    "DeepLab-VGG16 with batch norm from scratch at 240x180, scores at 480x360. Percent; mean ± "
    "sample standard deviation over seeds, or one seed without. Teachers, the first seed's B1 and "
    "what regresses other layers than pool5 alone drew a crop's row and its mirroring from one "
    "number, but for what was added last (the third seed with disjoint pairs, further seeds of "
    "W_inc there, the first seed's pool4); all else counts as it was trained with draws apart, "
    "where it was (`Other draws`)."
)
GAP = (
    "What was tried where the method falls short of B2, and where content moves: one change of "
    "camvid_evidence_gap a line, judged on the tuning part (`tune`), which nothing is trained on. "
    "A gain is over the same objective without the change; agreement is the label-free one. All "
    "of it, B2 too, was drawn from one number and at rate 0.05; what was kept, W_inc + kd, is in "
    "the tables above with draws apart and rates chosen."
)
DECAY = (
    "The question of a thesis (Dai 2018): does weight decay replace pre-training? Supervised on "
    "photographs, from scratch and from a network that was trained on the embedded scenes "
    "(experiment `camvid_evidence_decay`), both at one rate. Loss is the mean cross-entropy over "
    "labelled pixels in eval mode, without the decay's own."
)
EMPTY = "Not run yet."
NO_MACHINE = "the machines at hand had no time left"
NOT_RUN = (
    ("camvid_full_width", 0, "the paper's grid at full width, without batch norm, at 240x180",
     "`python scripts/study.py experiment=camvid_full_width`", "35 to 65", NO_MACHINE),
    ("camvid_full_width", 1, "two more seeds of what its claims rest on",
     "`python scripts/study.py experiment=camvid_full_width_seeds`", "18 to 36", NO_MACHINE),
    ("camvid_full_width_long", 0, "the same with 3,000 steps",
     "`python scripts/study.py experiment=camvid_full_width_long`", "18 to 36", NO_MACHINE),
    ("camvid_full_width_480", 0, "the grid at full width and 480x360",
     "the first with `name=camvid_full_width_480 runs=runs/camvid_full_width_480 "
     "'data.resize=[360,480]'`", "-", "no GPU could be had"),
    ("camvid_foreign", 0, "a network that nobody here trained: ESPNet",
     "`python scripts/study.py experiment=camvid_foreign`", "6 to 14", NO_MACHINE),
    ("camvid_segformer", 0, "a transformer: SegFormer",
     "the same with `name=camvid_segformer` and what its file says", "-", NO_MACHINE),
    ("roadscene", 0, "visible to thermal with both ESPNets, by night and day",
     "[step by step](real_cameras.md#visible-to-thermal-without-labels-roadscene)", "-",
     "nothing says yet which pairs are of the night"),
)  # fmt: skip
"""What is to come: the study and the seed whose record ends its place here (what leaves no such
record goes by hand), what it is, its command, whose experiment's file says more, core-hours as
estimated, and why it has not been run."""

NAMES = {
    "B0": "B0: the teacher as it is", "AdaBN": "AdaBN", "histogram": "restyle: histogram",
    "fda": "restyle: FDA", "pool1": "pool1", "pool2": "pool2", "pool3": "pool3", "pool4": "pool4",
    "pool5": "**pool5**", "w_inc": "W_inc", "w_dec": "W_dec", "pseudo_share": "pseudo-labels",
    "kd": "kd", "pool5_kd": "pool5 + kd",
    "w_inc_kd": "W_inc + kd", "B2": "B2: fine-tuned on labels",
    "B1": "B1: labels, from scratch",
}  # fmt: skip
"""What a run's folder is called in tables, in their order."""


def plain_label(name: str) -> str:
    """As label_of, without emphasis: in sentences and legends."""
    return label_of(name).strip("*")


def label_of(name: str) -> str:
    """A name with a learning rate or a share of the labels in words."""
    for sign, words in (("_lr_", "rate {}"), ("_share_", "{:.0%} of the labels")):
        stem, found, value = name.partition(sign)
        if found:
            number = float(value) if sign == "_share_" else value
            return f"{NAMES.get(stem, stem)}, {words.format(number)}"
    return NAMES.get(name, name)
