"""What agreement without labels lets one expect of the mIoU by labels, as past studies had it."""

EXPONENT = 2.5
"""Of `expected`, in steps of 0.1; results/expected.json has it and where it comes from."""
MARGIN = 2.9
"""Half the width of the 90 % interval of a gain, in points of mIoU, from the same record."""


def expected(agreement: float, clean: float, exponent: float = EXPONENT) -> float:
    """The mIoU by labels, in percent, of a network that agrees with the teacher's prediction on the
    old images: m(a) = a - (100 - c) (a / 100)^p, ours.

    A network that agrees in nothing has no hits, one that agrees in everything has the teacher's
    own score c; between them little of what agrees is the teacher's error as long as much does not,
    so that p is above 1.

    Args:
        agreement: mIoU with the teacher's prediction as truth, in percent.
        clean: the teacher's mIoU by labels on old images, in percent.
        exponent: p.
    """
    return agreement - (100 - clean) * (agreement / 100) ** exponent


def expected_gain(before: float, after: float, clean: float) -> tuple[float, float, float]:
    """The gain in mIoU by labels that two agreements let one expect, and its 90 % interval."""
    gain = expected(after, clean) - expected(before, clean)
    return gain, gain - MARGIN, gain + MARGIN


def in_words(before: float, after: float, clean: float) -> str:
    """What a verdict says of it."""
    _, low, high = expected_gain(before, after, clean)
    return (
        f"by labels the mIoU on new images should go from {expected(before, clean):.0f} to "
        f"{expected(after, clean):.0f}, a gain of {low:+.1f} to {high:+.1f} in 9 of 10 cases like "
        f"those of our studies (teacher on old images: {clean:.1f})"
    )
