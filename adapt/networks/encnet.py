"""Context encoding network (Zhang, Dana, Shi, Zhang, Wang, Tyagi, Agrawal, CVPR 2018), without the
semantic encoding loss and without the auxiliary head of its public code."""

import torch
from torch import Tensor, nn

CHANNELS, CODEWORDS = 512, 32
"""Of the reduced maps, and of the dictionary (section 4.1)."""


class Encoding(nn.Module):
    """Residuals to the codewords d_k, softly assigned to them and added up over the map (equations
    1 and 2): e_k = sum_i a_ik (x_i - d_k), a_ik = softmax_k(-s_k |x_i - d_k|^2).

    Args:
        channels: C of the maps.
        codewords: K.
    """

    def __init__(self, channels: int, codewords: int) -> None:
        super().__init__()
        bound = (channels * codewords) ** -0.5
        self.codewords = nn.Parameter(torch.empty(codewords, channels).uniform_(-bound, bound))
        self.smoothing = nn.Parameter(torch.empty(codewords).uniform_())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, K, C), computed as float32."""
        x, codewords = x.flatten(2).mT.float(), self.codewords.float()  # (B, N, C), (K, C)
        apart = x.square().sum(2, keepdim=True) - 2 * x @ codewords.T + codewords.square().sum(1)
        share = (-self.smoothing * apart).softmax(dim=2)  # (B, N, K)
        return share.mT @ x - share.sum(1)[..., None] * codewords


class ContextEncoding(nn.Module):
    """Maps whose channels the encoded context scales: x -> ReLU(x + sigmoid(W e) x), where e is the
    mean of the normalised and rectified e_k (section 3.1; the paper has their sum)."""

    def __init__(self, channels: int, codewords: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        self.encoding = Encoding(channels, codewords)
        self.norm = nn.BatchNorm1d(codewords)
        self.scale = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        encoded = self.norm(self.encoding(self.reduce(x))).relu().mean(dim=1)  # (B, C)
        return (x + x * self.scale(encoded).sigmoid()[..., None, None]).relu()


class EncNet(nn.Module):
    """The encoding module and a linear classifier on torchvision's ResNet of output stride 8.

    Args:
        num_classes: channels of the output.
        depth: 50 or 101 layers of the backbone.
    """

    head_at = "classifier"
    """Where the network can have several heads, side by side."""

    def __init__(self, num_classes: int, depth: int = 50) -> None:
        from torchvision.models import get_model
        from torchvision.models._utils import IntermediateLayerGetter

        super().__init__()
        dilated = [False, True, True]
        layers = get_model(f"resnet{depth}", weights=None, replace_stride_with_dilation=dilated)
        self.backbone = IntermediateLayerGetter(layers, {"layer4": "out"})
        self.reduce = nn.Sequential(
            nn.Conv2d(2048, CHANNELS, 3, padding=1, bias=False),
            nn.BatchNorm2d(CHANNELS),
            nn.ReLU(inplace=True),
        )
        self.context = ContextEncoding(CHANNELS, CODEWORDS)
        self.classifier = nn.Sequential(nn.Dropout(0.1), nn.Conv2d(CHANNELS, num_classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) -> logits (B, num_classes, ceil(H / 8), ceil(W / 8))."""
        return self.classifier(self.context(self.reduce(self.backbone(x)["out"])))
