"""The filters on batches of tensors, CPU or CUDA: equal to those on arrays within one level.

Images are (B, 3, H, W): uint8, or floating point in 0..1; results have the same type and device.
Between pixels all are differentiable, so that gradients reach the images.
"""

from transforms.torch.gegl_cubism import cubism
from transforms.torch.gegl_photocopy import photocopy
from transforms.torch.gegl_ripple import ripple

__all__ = ["cubism", "photocopy", "ripple"]
