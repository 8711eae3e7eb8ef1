"""What bfloat16 costs: the same trainings in fp32."""

from viz.evidence.records import GRID, SEEDS, SHARED, SHIFTS, Evidence, mean, shown, table
from viz.evidence.words import label_of

STUDY, METHOD = "camvid_evidence_fp32", "pool5"


def precision(found: Evidence) -> str:
    """mIoU in both precisions and the difference within a seed, shift by shift."""
    rows = []
    for shift in SHIFTS:
        exact = found.values(STUDY, METHOD, shift)
        low = found.values(GRID[SHARED], METHOD, shift)
        apart = {seed: low[seed] - exact[seed] for seed in exact if seed in low}
        if apart:
            both = (shown({s: one[s] for s in apart}, full=len(SEEDS)) for one in (exact, low))
            largest = max(apart.values(), key=abs)
            each = (f"{x:+.2f}".replace("-", "\u2212") for x in (mean(apart), largest))
            rows.append([f"{shift}, {label_of(METHOD).strip('*')}", *both, *each])
    heads = ("", "fp32", "bf16", "bf16 minus fp32, mean", "largest of a seed")
    return table(heads, rows) if rows else ""
