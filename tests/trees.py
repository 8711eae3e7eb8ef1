"""CamVid-like trees without pytest, of any image size."""

from pathlib import Path

import numpy as np
from conftest import scene
from PIL import Image


def camvid(root: Path, train: int = 6, val: int = 3, scale: int = 1) -> Path:
    """CamVid's layout; every pixel of a 40 x 56 scene becomes scale x scale."""
    rng = np.random.default_rng(1)
    for split, count in (("train", train), ("val", val)):
        names = [f"{split}_{i:03d}.png" for i in range(count)]
        for folder in (split, f"{split}annot"):
            (root / folder).mkdir(parents=True)
        for name in names:
            image, mask = (
                np.kron(a, np.ones((scale, scale, 1)[: a.ndim], np.uint8))
                for a in scene(rng, labels=11, void=11)
            )
            Image.fromarray(image).save(root / split / name)
            Image.fromarray(mask).save(root / f"{split}annot" / name)
        rows = [f"/SegNet/{split}/{n} /SegNet/{split}annot/{n}" for n in names]
        (root / f"{split}.txt").write_text("\n".join(rows) + "\n")
    return root
