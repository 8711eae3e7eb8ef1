"""What the pages of results say in words, and what they call runs; no figures stand here."""

FRONT = (
    "# Results\n\nCan a segmentation network be adapted to a new camera without labels, and how "
    "near does it come to one that is fine-tuned on labels? This page has the answers. Those that "
    "it names have all the rest: what each verdict rests on, and what failed."
)
ANSWER = (
    "**In short:** on pairs that the teacher has not seen, the method (`objective=w_inc_kd`) "
    "closes {w_inc_kd} of the gap between the old network on the new images and on the old ones "
    "({shifts}), without a label. Fine-tuning on all labels of the same images closes {B2}."
)
DONE = (
    "## What was done\n\nA **teacher**, a network that was trained on labelled street photographs "
    "(CamVid), meets the same scenes through three filters that stand for a new camera: "
    "*photocopy*, *ripple* and *cubism*. A **student**, its copy, sees pairs of images, one scene "
    "in its old and its new look, and learns without labels to compute the teacher's feature maps: "
    "`pool5` those of the last pooling, as the paper has it, and `W_inc + kd` (`w_inc_kd`) those "
    "of all five and the classifier's output. Against it stand the teacher as it is (**B0**), the "
    "teacher with its batch-norm statistics re-estimated on the new images (**AdaBN**), and a "
    "copy that is fine-tuned on the labels of the same new images, in as many steps (**B2**). "
    "Scores are **mIoU**, the mean over the classes of intersection over union, in percent, on "
    "the {val} validation images; mean ± sample standard deviation over {seeds} seeds."
)
GAP = (
    "**Gap closed**, in brackets, is the share of the way from B0 to the teacher's score on the "
    "old images. Learning rates are chosen without labels, B2's by its labels. Differences are "
    "taken within a seed."
)
CLAIMS = (
    "A claim **holds** where every seed's difference lies on the claimed side and **fails** where "
    "none does; **in part** means that it holds in some of its comparisons, and **seeds disagree** "
    "that one lies on either side. The number is the comparison that lies furthest from the claim: "
    "mIoU, a difference within a seed, where it does not say otherwise. "
    "W_inc and W_dec regress all five poolings with weights that grow or fall with depth, B1 is "
    "trained on the new images' labels from scratch, D1 and D2 are the old and the new images, "
    "and agreement is the mIoU of the student with the teacher's answer on the old image as truth."
)
TRUST = (
    "All of it is of one data set, whose {val} validation images are a few seconds of one drive "
    "([what that means](contest.md#what-counts)), and of one small network, a DeepLab-VGG16 of a "
    "quarter of its width, trained from scratch on images of 240x180, unless a page says "
    "otherwise. A difference of about a point is what seeds differ by."
)
PROCESSORS = (
    " Another processor sums in another order: between two of them, single cells of the demo, the "
    "smallest study, differ by up to {most:.1f} points and by {mean:.1f} in the mean."
)
CONTEST = ("Which objective is best, by rules that were written first?", "the contest")
DISAGREE = "At full width the verdict is another one for {letters} ([other networks]({page}))."
PAGES = {
    "disjoint": (
        "How good is it on pairs that the teacher has not seen, as yours are?",
        "Pairs that the teacher has not seen",
        "How good is it for a user, whose teacher has never learned from the images of the pairs? "
        "Here it has learned one half of the training images, pairs are the other half, and B2 "
        "has the labels of that half. (The paper's teacher has learned the labels of the very "
        "images that it teaches from, which flatters everything without labels.) {budget}",
    ),
    "shared": (
        "And on pairs whose labels the teacher has learned, as in the paper?",
        "Pairs shared with the teacher",
        "How good is it where the teacher has learned the labels of the very images that it "
        "teaches from, as in the paper? A user's case is [the other one](disjoint.md). Scores "
        "after more steps stand beside these [on the first page](../results.md#how-good-is-it). "
        "{budget}",
    ),
    "claims": (
        "On what does each verdict rest, and which reasons were tested?",
        "The paper's claims, with all their numbers",
        "On what does each verdict rest? The claims are those of Benbihi, Geist and Pradalier "
        "(2018), sections 4.3 and 5; the pairs are the shared ones, as there, unless it is said. "
        "Numbers are mIoU, differences within a seed.",
    ),
    "networks": (
        "Does it hold for other networks: full width, somebody else's, a transformer?",
        "Other networks",
        "Does it hold for networks other than the small one that most figures are of? [What was "
        "not run](not_run.md) has the command and the cost of what is missing here.",
    ),
    "sensors": (
        "Does it hold between two real sensors?",
        "Real sensors",
        "Does it hold where the new look is no filter but another sensor? [Two real "
        "cameras](../real_cameras.md) goes the whole way on both sets, step by step.",
    ),
    "layers": (
        "What happens in which layer?",
        "Layers",
        "Which layers have to be regressed, and what becomes of the maps of the others?",
    ),
    "inversions": (
        "What do the networks see? Images that are inverted from their maps",
        "Inversions",
        "What does each network see in an image? An inversion is an image whose feature maps are "
        "those that a network computes of a given one; the paper finds the new images' style in "
        "the student's ([claim f](claims.md#claim-f)).",
    ),
    "penalties": (
        "Does the -SP penalty help, and what has batch norm to do with it?",
        "The penalty's strength",
        "How strong should L2-SP be, the penalty that pulls the student's weights to their start? "
        "[Penalties](../penalties.md#when-to-use-which-what-camvid-says) says what follows.",
    ),
    "labels": (
        "How many labels are pairs worth, and does pre-training help?",
        "Labels, pre-training and weight decay",
        "How many labelled images would one have to pay for, to be as good as with pairs?",
    ),
    "tasks": (
        "Does a second task help, and is pre-training needed at all?",
        "A second task, and pre-training",
        "Does a network learn better if it learns a second task with the first, and does that "
        "depend on where it starts? The questions of a thesis on training strategies (Dai 2018), "
        "asked of a size that a CPU can do.",
    ),
    "fine_tuning": (
        "Is L2-SP better than L2 where a network is fine-tuned on labels?",
        "L2 and L2-SP in fine-tuning",
        "Does a penalty that pulls weights to their pre-trained start beat one that pulls them to "
        "zero (Li, Grandvalet and Davoine 2018), where the network learns CamVid's labels? Scores "
        "are mIoU on the validation images, strengths and rates were chosen on `tune`, a block of "
        "the training frames that nothing is trained on.",
    ),
    "misaligned": (
        "What if my pairs do not lie on each other?",
        "Pairs that do not lie on each other",
        "What does it cost if the two images of a pair are moved against each other, and what does "
        "[`align`](../align.md) give back? mIoU on val, which is not moved, of students with W_inc "
        "+ kd on photocopies, shared pairs, 250 steps (experiment `camvid_misalignment`): x2 of "
        "every training pair is moved by so many of its 480x360 pixels, and `align` finds out by "
        "how many.",
    ),
    "chain": (
        "What if the domain changes from date to date?",
        "From date to date",
        "Is it better to adapt every date of an archive from the first teacher, or from the "
        "student of the date before? Three photocopies that grow stand for the dates (experiment "
        "`camvid_chain`); mIoU on val, one seed, so that a point or two may be chance. Where the "
        "last step is a leap, the student of the date before is the better teacher, and where the "
        "steps are small nothing is lost by asking the first one.",
    ),
    "shifts": (
        "What are the three shifts, and what about other strengths?",
        "Shifts",
        "What is each shift, what does it cost the teacher, and does it matter how strong it is?",
    ),
    "trust": (
        "How was it made: rates, precision, machines, commits?",
        "How the figures were made",
        "How was it made, and what would change the figures? Learning rates, precision and the "
        "order of random draws each have a table, and the machines stand at the end.",
    ),
    "tried": (
        "What was tried and failed?",
        "What was tried",
        "What was tried and did not help? Every line of the first table lost, in the mean of "
        "differences within a seed, to what it is held against. Objectives that lose are on the "
        "page of [the contest](../contest.md).",
    ),
    "not_run": (
        "What has not been run, and what would it cost?",
        "What was not run",
        "What is still missing, by which command can it be had, and what does it cost? A study "
        "that is run leaves this table by itself once its records are there.",
    ),
}
"""File -> the reader's question, its title and its first paragraph."""
SHIFTS = (
    "Distortion of the teachers as in 003, section 4.1, in percent; the paper's are 32.5, 62.6 and "
    "94.0. Parameters are chosen on `tune` for the first seed's shared teacher, and serve all."
)
STRENGTHS = "mIoU, shared pairs."
RATES = (
    "The first seed, shared pairs. `chosen` has the highest mean over the shifts of label-free "
    "agreement on `tune`, a part of the training images that nothing is trained on; B2, which has "
    "labels, that of mIoU."
)
PRECISION = (
    "mIoU on val, shared pairs: the same teachers, order and crops, trained and scored in each "
    "precision."
)
DRAWS = (
    "mIoU on val, shared pairs. Until 2026-11-21 a crop's row and its mirroring were drawn from "
    "one number, so that windows of the upper rows were mirrored and none of the lower; since then "
    "they are drawn apart. Teachers, the first seed's B1 and what regresses other layers than "
    "pool5 alone still have the one number, but for what was added last (the third seed with "
    "disjoint pairs, further seeds of W_inc there, the first seed's pool4). The same teachers, "
    "rates and steps with both:"
)
MADE = (
    "Width-1/4 DeepLab-VGG16 with batch norm from scratch at 240x180, scores at 480x360, on the "
    "{val} validation images, unless it says `tune`. Written by `python -m results.page` from the "
    "records in `results/evidence`; no number is typed. Studies whose experiment is no longer in "
    "configs/experiment (camvid_evidence with `_gap`, `_rates`, `_draws`, `_short`, `_fp32` or "
    "`_defaults`) were made with that of commit df29b61."
)
WORTH = (
    "B2 with 5, 10, 25, 50 and 100 % of the labels, the smaller shares within the larger, each 500 "
    "steps at the rate that its labels on `tune` choose."
)
SWEEP = (
    "pool5 on GEGL's default photocopies, with batch norm free to move (`bn=train`) and frozen "
    "(`bn=eval`). D2 is mIoU on the new images, D1 on the old ones."
)
FEATURES = (
    "Maps of the photographs' twins against the teacher's maps of the photographs: squared "
    "distance relative to the teacher's, and the median over units of R2; before adapting (the "
    "teacher sees x2) and after (the student with pool5 regressed does). fp32, val."
)
WAYS = (
    "With its own maps as the target, as in the paper, the D1 image itself is what every network's "
    "inversion is drawn to, with no loss left. So whose maps are met was changed, and nothing "
    "else: of how many students' inversions the style is nearer that of the D2 image than that of "
    "the D1 image, by how much in the mean, in the maps of a third network (Gram matrices) and in "
    "the values of pixels (colours)."
)
INVERTED = (
    "![Inversions by the teacher and the three students](../pictures/camvid_inversions.png)\n\n"
    "*Each network meets its own maps of the image, as in the paper; below, the students meet the "
    "teacher's ([how they were made](../studies.md#what-networks-see)).*\n\n"
    "![The same where the teacher's maps are met](../pictures/camvid_inversions_teacher.png)"
)
CHAIN = (
    "*`python scripts/study.py experiment=camvid_chain data.root=DIR adaptation.eval_every=0`, "
    "seed 0, one thread of a busy AMD EPYC in bf16, torch 2.15, 2026-11-29 and 30, commit 3599f5c; "
    "rows in `results/camvid_chain.json`.*"
)
MOVED = (
    "The same scored against labels that follow what ripple and cubism move (void where an image "
    "shows none of the scene):"
)
FINE_TUNING = {
    "shares": (
        "From ImageNet, by the share of the labels",
        "EfficientNet-lite0 with the scores of an FCN-8s, 400 steps of 8 (`fra study "
        "experiment=camvid_imagenet`); differences within a seed.",
    ),
    "classes": (
        "Class by class",
        "Of the same trainings. The tuning, one seed with differences of less than a point, took a "
        "larger rate for L2-SP than for L2; whether its loss of rare classes is the penalty's or "
        "that rate's, these trainings cannot tell.",
    ),
    "imagenet": (
        "From ImageNet, all penalties that need nothing of its images",
        "With a quarter of the labels (`fra study experiment=camvid_imagenet_penalties`).",
    ),
    "wide": (
        "From ImageNet, the paper's kind of network",
        "DeepLab-LargeFOV VGG-16 at full width, without batch norm, from ImageNet-like features, "
        "300 steps of 4 (`fra study experiment=camvid_largefov`); differences within a seed.",
    ),
    "starts": (
        "Are the features worth anything?",
        "The same network with L2 and a quarter of the labels, from the features and from He's "
        "initialisation, each at the better of its candidates; one seed.",
    ),
    "transfer": (
        "From another task, all penalties",
        "A DeepLab-VGG16 of a quarter of its width that has learned the embedded scenes goes on "
        "with a quarter of CamVid's labels (`fra study experiment=camvid_transfer`). What it keeps "
        "is the mIoU on the scenes with its old head put back on (001, Table 5).",
    ),
    "layers": (
        "How far each layer moves",
        "Of the same trainings: |w - w0| / |w0| of each convolution, and the median over its units "
        "of R2, how well a unit's old response explains its new one on CamVid's images (001, "
        "Figure 4). L2 shrinks all layers by one share, which batch norm undoes.",
    ),
    "freezing": ("The first layers frozen", "Of the same trainings (001, Figure 3)."),
    "strengths": (
        "Strengths towards the start and towards zero",
        "From the embedded scenes, L2-SP on a quarter of the labels, mIoU on `tune`, one seed "
        "(`fra study experiment=camvid_finetune`).",
    ),
    "chosen": (
        "Strengths and rates that were tried",
        "On `tune`, with a quarter of the labels, one seed; what was taken in bold. Where all "
        "layers are new, as from He's initialisation, beta is as large as alpha.",
    ),
}
"""Part of the page on fine-tuning -> its title and what it is of."""

TRIED = (
    "Where the method falls short of B2, and where content moves: one change of "
    "camvid_evidence_gap a line, judged on the tuning part (`tune`), which nothing is trained on. "
    "A gain is over the same objective without the change; agreement is the label-free one. All "
    "of it, B2 too, was drawn [from one number](trust.md#other-draws) and at rate 0.05; what was "
    "kept, W_inc + kd, is in the other pages with draws apart and rates chosen."
)
DECAY = (
    "The question of a thesis (Dai 2018): does weight decay replace pre-training? Supervised on "
    "photographs, from scratch and from a network that was trained on the embedded scenes "
    "(experiment `camvid_evidence_decay`), both at one rate. Loss is the mean cross-entropy over "
    "labelled pixels in eval mode, without the decay's own."
)
DECAYED = ("decay", "decay_lite0")
"""The pictures of tables.DECAYED."""
TASKS = (
    "Stacked U-Nets of a quarter of the width, from scratch and from the "
    "embedded scenes: CamVid's eleven classes (*semantic*), and the things that move or stand out "
    "(*movable*: pole, sign, car, pedestrian, bicyclist, all else is background), as a second "
    "label map of the same images, whose losses are added, or the scenes' classes as a second "
    "data set, in turns drawn at random (asynchronous SGD, thesis section 3.3). mIoU on val; "
    "differences within a seed (`fra study experiment=camvid_tasks`)."
)
CONCLUSIONS = (
    "Conclusions 1 and 2 of its section 7.1. A conclusion holds where every seed of every "
    "comparison lies on its side; the last column has the lowest and the highest mean of the "
    "comparisons: loss in nats, mIoU in points. The numbers under each decay are on the page of "
    "[labels](labels.md#pre-training-and-weight-decay)."
)
NETWORKS = {
    "camvid_full_width": (
        "The paper's kind of network: full width, no batch norm",
        "DeepLab-LargeFOV VGG-16 at full width without batch norm, from ImageNet-like features, at "
        "240x180, 4 images a step. AdaBN would equal B0.",
    ),
    "camvid_foreign": (
        "A network that nobody here trained: ESPNet",
        "[ESPNet](../espnet.md) as its authors trained it, under the three shifts and the "
        "[contest](../contest.md)'s camera, at the layers that `taps=auto` takes. The validation "
        "images were most likely seen by this teacher, so that the share of the gap and the "
        "difference to B2 say more than the scores.",
    ),
    "camvid_segformer": (
        "A transformer: SegFormer",
        "A small SegFormer that was trained on CamVid first, at the layers that `taps=auto` takes.",
    ),
}
"""Study -> the heading of its section and what it is."""
FOLDS = (
    "The Crop/Weed Field Image Dataset, of one camera behind one lens: red light is the old "
    "domain, near infrared the new one. Every image is held out once in five folds; mean ± "
    "deviation over the folds, whose number is the seed. The student and B2 are each at the better "
    "of two rates, by agreement and by labels on a tuning part that nothing is trained on."
)
ROADSCENE = (
    "There are no labels ([step by step](../real_cameras.md#visible-to-thermal-without-labels-"
    "roadscene)). The teachers are networks of others, and the figures are agreement: the mIoU of "
    "what a network says of the thermal image with what its teacher says of the visible one as "
    "truth, on pairs that are held out. It is night where the sky of the visible image is dark."
)
EMPTY = "Not run yet."
NO_MACHINE = "the machines at hand had no time left"
NOT_RUN = (
    ("camvid_full_width", 0, "the paper's grid at full width, without batch norm, at 240x180",
     "`python scripts/study.py experiment=camvid_full_width`", "65", NO_MACHINE),
    ("camvid_full_width", 1, "two more seeds of what its claims rest on",
     "`python scripts/study.py experiment=camvid_full_width_seeds`", "36", NO_MACHINE),
    ("camvid_full_width_long", 0, "the same with 3,000 steps",
     "`python scripts/study.py experiment=camvid_full_width_long`", "34", NO_MACHINE),
    ("camvid_full_width_penalties", 0, "L2-SP over alpha at full width",
     "`python scripts/study.py experiment=camvid_full_width_penalties`", "5", NO_MACHINE),
    ("camvid_full_width_480", 0, "the grid at full width and 480x360",
     "the first with `name=camvid_full_width_480 runs=runs/camvid_full_width_480 "
     "'data.resize=[360,480]'`", "-", "no GPU could be had"),
    ("camvid_largefov", 0, "L2 and L2-SP on DeepLab-LargeFOV at full width",
     "`python scripts/study.py experiment=camvid_largefov_tuning`, then at what it chooses", "10",
     NO_MACHINE),
    ("camvid_foreign", 0, "a network that nobody here trained: ESPNet",
     "`python scripts/study.py experiment=camvid_foreign`", "6 to 14", NO_MACHINE),
    ("camvid_segformer", 0, "a transformer: SegFormer",
     "the same with `name=camvid_segformer` and what its file says", "-", NO_MACHINE),
    ("cwfid_folds", 0, "red to near infrared over five folds, with labels",
     "`python scripts/cwfid_folds.py` and what it says of itself", "5 to 9", NO_MACHINE),
    ("roadscene", 0, "visible to thermal with both ESPNets, by night and day",
     "`python scripts/roadscene.py` and what it says of itself", "2", NO_MACHINE),
)  # fmt: skip
"""What is to come: the study and the seed whose record ends its place here (what leaves no such
record goes by hand), what it is, its command, whose experiment's file says more, core-hours as
estimated, and why it has not been run."""

NAMES = {
    "B0": "B0: the teacher as it is", "AdaBN": "AdaBN", "histogram": "restyle: histogram",
    "fda": "restyle: FDA", "ridge": "ridge map",
    "pool1": "pool1", "pool2": "pool2", "pool3": "pool3", "pool4": "pool4", "pool5": "**pool5**",
    "pool5_norm": "pool5, the printed norm", "w_inc": "W_inc", "w_dec": "W_dec",
    "pseudo_share": "pseudo-labels",
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
