"""What a step does with its pairs before the networks see them: mixup."""

from collections.abc import Sequence

import numpy as np
import torch

from adapt.objective.terms import Maps


def mixup(batch: Maps, alpha: float, seed: Sequence[int]) -> Maps:
    """Each pair mixed with another one of the batch (Zhang et al., ICLR 2018, equation 1): x1 with
    x1 and x2 with x2 of the same partner, as lambda x + (1 - lambda) x' with the same lambda.

    Args:
        batch: normalised images x1 and x2 (B, C, H, W), and maybe `valid` (B, H, W), 0 or 1: of a
            mixture it is 1 where it is of both.
        alpha: lambda ~ Beta(alpha, alpha), drawn for each pair.
        seed: what partners and lambdas are drawn from.
    """
    draw, count = np.random.default_rng(seed), len(batch["x2"])
    partner = torch.from_numpy(draw.permutation(count))
    share = torch.from_numpy(draw.beta(alpha, alpha, count))[:, None, None, None]
    found = {}
    for key, own in batch.items():
        other = own[partner.to(own.device)]
        found[key] = own * other if key == "valid" else other.lerp(own, share.to(own))
    return found
