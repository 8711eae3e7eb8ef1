"""How somebody may have trained the U-Net long ago: CamVid in SegNet's layout -> unet.pth.

    python train_unet.py CAMVID unet.pth [steps]

Plain PyTorch, one seed, random mirroring; images at 256x192, values (x / 255 - 0.5) / 0.25.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from unet import unet

SIZE = (256, 192)
VOID = 11


def load(folder: Path, method: Image.Resampling) -> torch.Tensor:
    files = sorted(folder.iterdir())
    return torch.stack(
        [torch.from_numpy(np.array(Image.open(f).resize(SIZE, method))) for f in files]
    )


def main(root: Path, out: Path, steps: int) -> None:
    torch.manual_seed(0)
    images = load(root / "train", Image.Resampling.BOX).permute(0, 3, 1, 2)
    labels = load(root / "trainannot", Image.Resampling.NEAREST).long()
    net = unet().train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for step in range(steps):
        chosen = torch.randint(len(images), (8,))
        x, y = (images[chosen].float() / 255 - 0.5) / 0.25, labels[chosen]
        if step % 2:
            x, y = x.flip(-1), y.flip(-1)
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(x.contiguous(memory_format=torch.channels_last))
        loss = torch.nn.functional.cross_entropy(logits.float(), y, ignore_index=VOID)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rate.step()
        if (step + 1) % max(1, steps // 15) == 0:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    torch.save(net.state_dict(), out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1500)
