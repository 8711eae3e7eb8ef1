"""Networks that others make, as ONNX: at every size that they take, else at the images' own."""

from collections.abc import Callable
from functools import partial

import foreign
import numpy as np
import pytest
import torch
from torch import nn

from adapt.export.onnx_graph import onnx_bytes
from adapt.export.recipe import odd_sizes, signature_of
from adapt.networks.taps import logits_of
from adapt.settings.groups import NetworkConfig

CLASSES = 4
HALF = {
    "num_encoder_blocks": 2, "hidden_sizes": [8, 16], "depths": [1, 1], "sr_ratios": [2, 1],
    "patch_sizes": [7, 3], "strides": [4, 2], "num_attention_heads": [1, 2], "mlp_ratios": [2, 2],
}  # fmt: skip
SHALLOW = {"encoder_depth": 3, "decoder_channels": (16, 8, 8)}
NETWORKS: dict[str, tuple[Callable[[int], nn.Module], tuple[int, int], int | None, float]] = {
    "transformers segformer": (partial(foreign.segformer, **HALF), (64, 96), 1, 4),
    "timm vit of one size": (partial(foreign.vit, img_size=(64, 96)), (64, 96), None, 16),
    "timm dinov2": (foreign.dinov2, (56, 84), 14, 14),
    "smp unet": (partial(foreign.smp, name="Unet", **SHALLOW), (64, 96), 1, 1),
}
"""What makes it, the (H, W) of the images, of what its sides are multiples, and its stride."""


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_the_network(name: str) -> None:
    pytest.importorskip(foreign.LIBRARIES[name.split()[0]])
    import onnxruntime

    make, size, multiple, stride = NETWORKS[name]
    torch.manual_seed(0)
    net, config = make(CLASSES).eval(), NetworkConfig(mean=[0.5] * 3, std=[0.25] * 3)
    signature = signature_of(net, size)
    assert (signature.multiple, signature.stride) == (multiple, stride)
    content = onnx_bytes(net, config, [] if multiple else [*size], {}, multiple or 1)
    session = onnxruntime.InferenceSession(content)
    for batch, shape in zip((1, 3), odd_sizes(multiple) if multiple else (size, size), strict=True):
        images = np.random.default_rng(0).integers(0, 256, (batch, 3, *shape), np.uint8)
        logits, classes = session.run(None, {"image": images})
        with torch.no_grad():
            own = logits_of(net(torch.from_numpy((np.float32(images) / 255 - 0.5) / 0.25)))
        np.testing.assert_allclose(logits, own.numpy(), atol=1e-5 * np.ptp(own.numpy()))
        full = nn.functional.interpolate(own, shape, mode="bilinear").argmax(1).numpy()
        assert (classes == full).mean() > 0.99
