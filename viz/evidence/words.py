"""What the page of results says in words; no figures of ours stand here."""

TITLE = (
    "# Results\n\nDoes it work, on real photographs? Written by `python scripts/results.py` from "
    "the records in [results/evidence](../results/evidence); no number is typed."
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
    "The first seed, shared pairs. `chosen` has the highest mean agreement on `tune` over the "
    "shifts; no label takes part."
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
    "sample standard deviation over seeds, or one seed without."
)
GAP = (
    "pool5 + kd, which also trains the head, on the strong ripple; every line is one change of it "
    "(experiment `camvid_evidence_gap`). Not tried: masked x2, warped teacher maps and distances "
    "that tolerate displacement, which the product does not have."
)
DECAY = (
    "The question of a thesis (Dai 2018): does pre-training replace weight decay? Supervised on "
    "the photographs, from scratch and from a network that was trained on the embedded scenes. "
    "The loss is the mean over the last fifth of the logged steps; that of val is not measured."
)
EMPTY = "Not run yet."
