"""Tables of the smaller studies: closing the gap to B2, and pre-training against weight decay."""

from statistics import fmean

from viz.evidence.records import GRID, SEEDS, SHARED, Evidence, differences, shown, table

GAP, RIPPLE, BEST = "camvid_evidence_gap_", "ripple", "pool5_kd"
DECAYS = {"none": "0", "l2_1em4": "1e-4", "l2_5em4": "5e-4", "l2_1em3": "1e-3"}
STARTS = {"from scratch": "camvid_evidence_decay_raw", "pre-trained": "camvid_evidence_decay_pre"}


def gap(found: Evidence) -> str:
    """What each change brings to pool5 + kd on ripple, and how far it is from B2 then: its own,
    where B2 was trained under the same change, else the grid's."""
    plain, b2 = (found.values(GRID[SHARED], name, RIPPLE) for name in (BEST, "B2"))
    rows = []
    if plain:
        rows.append(["as it is", shown(plain, full=len(SEEDS)), "", against(plain, b2)])
    for study in dict.fromkeys(s.study for s in found.scores if s.study.startswith(GAP)):
        changed = found.values(study, BEST, RIPPLE)
        own = found.values(study, "B2", RIPPLE) or b2
        gain = shown(differences(changed, plain), signed=True)
        cells = [shown(changed, full=len(SEEDS)), gain, against(changed, own)]
        rows.append([study.removeprefix(GAP), *cells])
    return table(["pool5 + kd", "mIoU", "gain", "minus B2"], rows) if len(rows) > 1 else ""


def against(values: dict[int, float], b2: dict[int, float]) -> str:
    return shown(differences(values, b2), signed=True)


def decay(found: Evidence) -> str:
    """Loss at the end, mIoU on the training images and on val, for each start and decay."""
    rows = []
    for start, study in STARTS.items():
        for name, strength in DECAYS.items():
            scores = found.find(study, name, "")
            if not scores:
                continue
            losses = {seed: fmean(v for _, v in s.run["loss"][-2:]) for seed, s in scores.items()}
            loss = f"{fmean(losses.values()):.3f}"
            train = found.values(study, name, "", split="fit")
            val = found.values(study, name, "")
            rows.append([start, strength, loss, shown(train), shown(val, full=len(SEEDS))])
    heads = ("start", "decay", "training loss", "mIoU, training images", "mIoU, val")
    return table(heads, rows) if rows else ""
