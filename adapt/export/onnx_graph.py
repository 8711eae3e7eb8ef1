"""A network as one ONNX file: images in, logits and classes out, normalisation inside."""

import json
import math
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from adapt.errors import InputError
from adapt.networks.preprocessing import normalise
from adapt.networks.sizes import REFUSALS
from adapt.networks.taps import logits_of, tasks_of, upsample
from adapt.settings.groups import NetworkConfig

OPSET = 18
NEEDED = ("onnx", "onnxscript", "onnxruntime")
MOST_BYTES = 2**31 - 2**20
"""Of weights that one protobuf file can hold beside the graph."""
ONE_SIZE = "size=[H,W], the images' own, is easier to trace; "
EXAMPLE = (2, 128, 192)
"""Batch, height and width of the traced image: multiples of 64 whose maps have sides above 1."""


def check_installed() -> None:
    """Raises InputError where a package that ONNX needs is missing."""
    for name in NEEDED:
        try:
            import_module(name)
        except ImportError:
            raise InputError(
                f"formats=[onnx] needs {name}: pip install '.[onnx]' in this project's folder, or "
                "give formats=[safetensors]"
            ) from None


class Deployed(nn.Module):
    """Images (B, N, H, W), RGB where N is 3 -> logits (B, C, h, w) and classes (B, H, W), uint8, or
    int32 of more than 256: the argmax of the logits, upsampled bilinearly to the image's size. Of
    several heads both of each, one after the other (`outputs_of`)."""

    def __init__(self, net: nn.Module, network: NetworkConfig) -> None:
        super().__init__()
        self.net, self.network = net, network

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        output, found = self.net(normalise(image, self.network)), list[Tensor]()
        for task in tasks_of(self.net) or ("",):
            logits = logits_of(output, task)
            full = upsample(logits, (image.shape[2], image.shape[3]))
            kind = torch.uint8 if full.shape[1] <= 256 else torch.int32
            found += [logits, full.argmax(dim=1).to(kind)]
        return tuple(found)


def outputs_of(tasks: Sequence[str]) -> list[str]:
    """The names of the graph's outputs: `logits` and `classes`, of several heads `logits_TASK`."""
    endings = [f"_{task}" for task in tasks] or [""]
    return [f"{what}{ending}" for ending in endings for what in ("logits", "classes")]


def adaptive_average(x: Tensor, size: Sequence[int]) -> Tensor:
    """adaptive_avg_pool2d of (B, C, H, W) to `size` as two products with averaging matrices, whose
    row i has the cells floor(i n / bins) .. ceil((i + 1) n / bins) - 1. The exporter's own version
    has the traced size built in and is wrong at every other."""
    if all(bins == 1 for bins in size):
        return x.mean(dim=(-2, -1), keepdim=True)
    matrices = []
    for n, bins in zip(x.shape[-2:], size, strict=True):
        cell, row = (torch.arange(k, device=x.device) for k in (n, bins))
        first, stop = row * n // bins, -(-(row + 1) * n // bins)
        inside = (cell >= first[:, None]) & (cell < stop[:, None])
        matrices.append(inside.to(x.dtype) / (stop - first)[:, None].to(x.dtype))
    rows, columns = matrices
    return rows @ x @ columns.mT


def onnx_bytes(
    net: nn.Module,
    network: NetworkConfig,
    size: list[int],
    metadata: dict[str, Any],
    multiple: int = 1,
    kind: str = "uint8",
) -> bytes:
    """The checked ONNX file of a network on the CPU, with `metadata` (values other than text as
    JSON). The graph's input is of a `kind`, uint8 or uint16, and of a `size` (H, W), [] = any that
    are multiples of `multiple`.

    Raises:
        InputError: the network cannot be traced or translated, or is too large for one file.
    """
    import onnx

    weights = sum(t.numel() * t.element_size() for t in net.state_dict().values())
    if weights > MOST_BYTES:
        raise InputError(
            f"formats=[onnx]: one file holds 2 GiB; the weights have {weights} bytes; "
            "give formats=[safetensors]"
        )
    batch, *sides = EXAMPLE
    traced = [math.ceil(side / multiple) * multiple for side in sides]
    example = torch.zeros(batch, len(network.mean), *(size or traced), dtype=getattr(torch, kind))
    free = torch.export.Dim.DYNAMIC
    sizes = {0: free} if size else {0: free, 2: free, 3: free}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        try:
            program = torch.export.export(
                Deployed(net, network).eval(),
                (example,),
                dynamic_shapes=(sizes,),
                prefer_deferred_runtime_asserts_over_guards=True,
            )
            program = program.run_decompositions(
                {torch.ops.aten.adaptive_avg_pool2d.default: adaptive_average}
            )
            made = torch.onnx.export(
                program,
                (),
                opset_version=OPSET,
                input_names=["image"],
                output_names=outputs_of(tasks_of(net)),
                verbose=False,
            )
        except REFUSALS as error:
            why = " ".join(str(error).split())[:300]
            raise InputError(
                f"formats=[onnx]: {type(net).__name__} cannot be translated "
                f"({type(error).__name__}: {why}); {'' if size else ONE_SIZE}"
                "formats=[safetensors] does without"
            ) from error
    assert made is not None
    model = made.model_proto
    tidy(model)
    onnx.helper.set_model_props(
        model, {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    )
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def tidy(model: Any) -> None:
    """Drop what the exporter notes of this machine, such as source files, and name free sizes."""
    graph = model.graph
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*graph.input, *graph.output, *graph.initializer):
        del value.metadata_props[:]
    del graph.value_info[:]
    del graph.metadata_props[:]
    for value in (*graph.input, *graph.output):
        names = {
            "image": ("batch", "", "height", "width"),
            "logits": ("batch", "", f"{value.name}_height", f"{value.name}_width"),
            "classes": ("batch", "height", "width"),
        }[value.name.partition("_")[0]]
        for dim, name in zip(value.type.tensor_type.shape.dim, names, strict=True):
            if dim.dim_param:
                dim.dim_param = name
