"""Networks that others make, small and with random weights; each takes `classes`."""

from torch import Tensor, nn

LIBRARIES = {"transformers": "transformers", "timm": "timm", "smp": "segmentation_models_pytorch"}
"""Beginning of a network's name -> the library that it needs."""


class Tokens(nn.Module):
    """A backbone of timm whose tokens, or maps with channels last, a 1x1 convolution classifies."""

    def __init__(self, name: str, classes: int, **options: object) -> None:
        import timm

        super().__init__()
        self.backbone = timm.create_model(name, pretrained=False, num_classes=0, **options)
        self.head = nn.Conv2d(self.backbone.num_features, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = self.backbone.forward_features(x)
        if found.ndim == 3:
            rows = x.shape[2] // self.backbone.patch_embed.patch_size[0]
            tokens = found[:, self.backbone.num_prefix_tokens :].mT
            return self.head(tokens.unflatten(2, (rows, -1)))
        return self.head(found if found.shape[1] == self.head.in_channels else found.movedim(-1, 1))


def vit(classes: int, **options: object) -> nn.Module:
    small = {"embed_dim": 24, "depth": 3, "num_heads": 2} | options
    return Tokens("vit_tiny_patch16_224", classes, **small)


def dinov2(classes: int) -> nn.Module:
    """Patches of 14, a class token and four registers."""
    small = {"embed_dim": 24, "depth": 2, "num_heads": 2, "img_size": 28}
    return Tokens("vit_small_patch14_reg4_dinov2", classes, dynamic_img_size=True, **small)


def swin(classes: int) -> nn.Module:
    small = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}
    return Tokens(
        "swin_tiny_patch4_window7_224", classes, img_size=(64, 96), window_size=2, **small
    )


def convnext(classes: int) -> nn.Module:
    return Tokens("convnext_atto", classes, dims=(8, 8, 16, 16), depths=(1, 1, 1, 1))


def segformer(classes: int, **options: object) -> nn.Module:
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    small = {
        "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2],
        "decoder_hidden_size": 16,
    } | options  # fmt: skip
    return SegformerForSemanticSegmentation(SegformerConfig(num_labels=classes, **small))


def upernet(classes: int) -> nn.Module:
    """It needs labels for its auxiliary head's loss only."""
    from transformers import ConvNextConfig, UperNetConfig, UperNetForSemanticSegmentation

    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_features=stages)
    return UperNetForSemanticSegmentation(
        UperNetConfig(
            backbone_config=backbone, num_labels=classes, hidden_size=16, auxiliary_in_channels=16,
            auxiliary_channels=8,
        )
    )  # fmt: skip


def smp(classes: int, *, name: str, encoder: str = "resnet18", **options: object) -> nn.Module:
    import segmentation_models_pytorch

    make = getattr(segmentation_models_pytorch, name)
    return make(encoder, encoder_weights=None, classes=classes, **options)
