"""What a network sees: the formula, the files of other libraries, and what is refused of them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from adapt.errors import InputError
from adapt.networks.preprocessing import as_input, read, sees, with_preprocessing
from adapt.settings.groups import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    NetworkConfig,
    TeacherNetworkConfig,
)
from adapt.settings.training import AdaptConfig

MEAN, STD = list(IMAGENET_MEAN), list(IMAGENET_STD)


def pixels(channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, channels, 4, 5), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({}, "RGB in 0..1, mean 0.485 0.456 0.406, std 0.229 0.224 0.225"),
        ({"order": "bgr"}, "BGR in 0..1, mean 0.485 0.456 0.406, std 0.229 0.224 0.225"),
        (
            {"order": "bgr", "range": 255, "mean": [109.65, 107.76, 104.35], "std": [72.0] * 3},
            "BGR in 0..255, mean 109.65 107.76 104.35, std 72 72 72",
        ),
        ({"mean": [0.5], "std": [0.25]}, "1 channel(s) in 0..1, mean 0.5, std 0.25"),
        ({"mean": [1.0] * 6, "std": [9.0] * 6, "range": 255}, "6 channel(s) in 0..255, "),
    ],
)
def test_images_are_normalised_as_the_line_says(settings: dict[str, Any], line: str) -> None:
    network = NetworkConfig(**settings)
    images = pixels(len(network.mean))
    found = as_input(images, network)
    assert found.dtype == torch.float32
    seen = images.double().numpy() / (255 if network.range == 1 else 1)
    seen = seen[:, ::-1] if network.order == "bgr" else seen
    for channel, (mean, std) in enumerate(zip(network.mean, network.std, strict=True)):
        wanted = (seen[:, channel] - mean) / std
        # Two roundings to float32.
        assert np.allclose(found[:, channel], wanted, rtol=1e-6, atol=1e-6)
    assert sees(network).startswith(f"network sees {line}")
    assert torch.equal(as_input(found, network), found), "floating point images are normalised"
    with pytest.raises(InputError, match=r"images have 4 channel\(s\), but network.mean is"):
        as_input(pixels(4), network)


SEGFORMER = {"do_normalize": True, "image_mean": MEAN, "image_std": STD, "size": 512}
RESCALED = SEGFORMER | {"do_rescale": True, "rescale_factor": 0.00392156862745098}
SMP = {"input_space": "BGR", "input_range": [0, 255], "mean": [104, 117, 123.5], "std": [1, 1, 2]}
PARTS = {"mean": [0.5] * 3, "std": [0.25] * 3, "input_size": [3, 224, 224]}


@pytest.mark.parametrize(
    ("content", "process"),
    [
        (SEGFORMER, lambda x: (x / 255 - MEAN) / STD),
        (RESCALED | {"do_resize": False}, lambda x: (x / 255 - MEAN) / STD),
        ({"image_processor": RESCALED}, lambda x: (x / 255 - MEAN) / STD),
        (RESCALED | {"do_rescale": False}, lambda x: (x - MEAN) / STD),
        (RESCALED | {"do_normalize": False}, lambda x: x / 255),
        (RESCALED | {"do_flip_channel_order": True}, lambda x: ((x / 255 - MEAN) / STD)[..., ::-1]),
        ({"architecture": "resnet18", "pretrained_cfg": PARTS}, lambda x: (x / 255 - 0.5) / 0.25),
        (PARTS, lambda x: (x / 255 - 0.5) / 0.25),
        (SMP, lambda x: (x[..., ::-1] - SMP["mean"]) / SMP["std"]),
    ],
)
def test_a_file_says_what_its_library_does(tmp_path: Path, content: Any, process: Any) -> None:
    """`process` is the library's processing of (H, W, 3), written out."""
    path = tmp_path / "preprocessing.json"
    path.write_text(json.dumps(content))
    network = read(NetworkConfig(preprocessing=str(path)))
    images = pixels(3)
    wanted = process(images.permute(0, 2, 3, 1).double().numpy())
    found = as_input(images, network).permute(0, 2, 3, 1)
    assert np.allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert network.preprocessing == "" and {"mean", "range"} <= set(network.explicit)


@pytest.mark.parametrize(
    ("content", "settings", "words"),
    [
        ({}, {}, "it has no .input_space.; give network.mean, .* instead of the file"),
        ({"image_mean": MEAN, "image_std": STD}, {}, "it has no 'do_normalize'"),
        ({"do_normalize": True}, {}, "it has no 'image_mean'"),
        (RESCALED | {"rescale_factor": 1 / 127.5}, {}, "rescale_factor is 0.0078.*1/255"),
        (RESCALED | {"rescale_offset": True}, {}, "rescale_offset True"),
        (SEGFORMER | {"image_mean": 0.5}, {}, "image_mean is 0.5; it must be of type"),
        (SEGFORMER | {"image_mean": [0.5]}, {}, r"network.mean is \[0.5\], network.std"),
        (SMP | {"input_space": "YUV"}, {}, "input_space is 'YUV'"),
        (SMP | {"input_range": [-1, 1]}, {}, r"input_range \[-1, 1\]"),
        (SMP, {"range": 1, "explicit": ["range"]}, "network.range is 1, but .* has 255; give one"),
        (PARTS, {"mean": [0.1] * 3}, "network.mean is .* has .* give one of them"),
    ],
)
def test_what_a_file_cannot_say_is_refused(
    tmp_path: Path, content: Any, settings: dict[str, Any], words: str
) -> None:
    path = tmp_path / "preprocessing.json"
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=words) as refused:
        read(NetworkConfig(preprocessing=str(path), **settings))
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mean": [0.5]}, "give a number of each for every channel"),
        ({"mean": [], "std": []}, "give a number of each for every channel"),
        ({"mean": [0.5], "std": [0.5], "order": "bgr"}, r"order is bgr; .* 1 channel"),
        ({"range": 2}, "network.range is 2; it must be 1 or 255"),
    ],
)
def test_settings_that_do_not_fit_together(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        NetworkConfig(**settings)


def test_the_files_of_both_networks_of_a_command_are_read(tmp_path: Path) -> None:
    path = tmp_path / "preprocessing.json"
    path.write_text(json.dumps(SMP))
    student = NetworkConfig(mean=[0.1] * 3)
    teacher = TeacherNetworkConfig(preprocessing=str(path))
    found = with_preprocessing(AdaptConfig(network=student, teacher_network=teacher))
    assert found.network == student and type(found.teacher_network) is TeacherNetworkConfig
    assert (found.teacher_network.order, found.teacher_network.mean) == ("bgr", SMP["mean"])
    with pytest.raises(InputError, match=r"teacher_network\.mean is .* give one of them"):
        read(replace(teacher, mean=[0.1] * 3))
