"""EfficientNet-lite0 (Tan and Le 2019; the lite variant of TensorFlow's repository, 2020: ReLU6, no
squeeze-and-excitation) with the scores of an FCN-8s (Long et al. 2015) as a light head.

A network for small machines: 3.4 million parameters without the head. Strided convolutions pad as
TensorFlow's do, and batch norm has its epsilon, so that published ImageNet weights fit.
"""

from torch import Tensor, nn

STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
          (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))  # fmt: skip
"""Blocks, kernel, stride of the first block, expansion and channels."""
STEM = 32
FUSED = {4: 40, 10: 112, 15: 320}
"""Blocks whose maps the head sees, at strides 8, 16 and 32, and their channels."""


class Same(nn.Conv2d):
    """A convolution without bias whose output has ceil(n / stride) cells: what is missing is padded
    on both sides, an odd cell on the right and below."""

    def forward(self, x: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        missing = [max(0, (-(-n // stride) - 1) * stride + kernel - n) for n in x.shape[2:]]
        (top, left), (height, width) = (n // 2 for n in missing), missing
        padded = nn.functional.pad(x, (left, width - left, top, height - top))
        return super().forward(padded)


def conv(inputs: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> Same:
    return Same(inputs, out, kernel, stride, groups=groups, bias=False)


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class Block(nn.Module):
    """Expand by a 1x1 convolution (unless by 1), convolve each channel alone, project by a 1x1
    convolution; the input is added where it has the same shape."""

    def __init__(self, inputs: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = inputs * expansion
        if expansion > 1:
            self.expand_conv, self.bn0 = conv(inputs, inside), norm(inside)
        self.depthwise_conv = conv(inside, inside, kernel, stride, groups=inside)
        self.bn1 = norm(inside)
        self.project_conv, self.bn2 = conv(inside, out), norm(out)
        self.activation = nn.ReLU6()
        self.expands, self.adds = expansion > 1, stride == 1 and inputs == out

    def forward(self, x: Tensor) -> Tensor:
        inner = self.activation(self.bn0(self.expand_conv(x))) if self.expands else x
        inner = self.activation(self.bn1(self.depthwise_conv(inner)))
        inner = self.bn2(self.project_conv(inner))
        return inner + x if self.adds else inner


class Backbone(nn.Module):
    """Images (B, 3, H, W) -> the maps of FUSED."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn0, self.activation = conv(3, STEM, 3, 2), norm(STEM), nn.ReLU6()
        blocks, inputs = [], STEM
        for count, kernel, stride, expansion, out in STAGES:
            for number in range(count):
                blocks.append(Block(inputs, out, kernel, 1 if number else stride, expansion))
                inputs = out
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> list[Tensor]:
        x, maps = self.activation(self.bn0(self.conv_stem(x))), []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in FUSED:
                maps.append(x)
        return maps


class Scores(nn.Module):
    """Class scores of each map by a 1x1 convolution, added up from the coarsest to the finest."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        scores = [nn.Conv2d(channels, num_classes, 1) for channels in FUSED.values()]
        for score in scores:
            nn.init.zeros_(score.weight)  # as Long et al. have them
        self.scores = nn.ModuleList(scores)

    def forward(self, maps: list[Tensor]) -> Tensor:
        *finer, coarsest = [score(x) for score, x in zip(self.scores, maps, strict=True)]
        for score in reversed(finer):
            size = score.shape[2:]
            coarsest = score + nn.functional.interpolate(
                coarsest, size, mode="bilinear", align_corners=False
            )
        return coarsest


class FCNEfficientNetLite0(nn.Module):
    """Images (B, 3, H, W) -> logits (B, num_classes, ceil(H / 8), ceil(W / 8))."""

    head_at = "classifier"

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.backbone, self.classifier = Backbone(), Scores(num_classes)
        ends = {"pool1": 0, "pool2": 2, "pool3": 4, "pool4": 10, "pool5": 15}
        self.aliases = {pool: f"backbone.blocks.{n}" for pool, n in ends.items()}
        for module in self.backbone.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.backbone(x))
