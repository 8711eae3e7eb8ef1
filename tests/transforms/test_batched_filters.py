"""The filters on tensors, and as augmentations of kornia and albumentations."""

import inspect
import json
from typing import Any

import albumentations as A
import kornia.augmentation as K
import numpy as np
import pytest
import torch

import transforms.albumentations as for_albumentations
import transforms.kornia as for_kornia
import transforms.torch as batched
from transforms import FILTERS, cubism, moved_labels, ripple, ripple_sources

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    ),
]
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("photocopy", {}),
    ("photocopy", {"mask_radius": 2.0, "sharpness": 1.0, "white": 0.6}),
    ("photocopy", {"mask_radius": 50.0, "sharpness": 0.0, "black": 0.0, "white": 1.0}),
    ("photocopy", {"white": 0.0}),
    ("ripple", {}),
    ("ripple", {"amplitude": 9.0, "period": 20.0, "angle": 30.0, "abyss_policy": "loop"}),
    ("ripple", {"angle": 180.0, "sampler_type": "nearest", "abyss_policy": "black"}),
    ("ripple", {"angle": -71.0, "sampler_type": "linear", "abyss_policy": "white"}),
    ("ripple", {"period": 31.0, "wave_type": "sawtooth", "tileable": True}),
    ("cubism", {}),
    ("cubism", {"tile_size": 23.0, "tile_saturation": 0.7, "bg_color": (3, 200, 90), "seed": 6}),
    ("cubism", {"tile_size": 3.0, "tile_saturation": 4.0, "seed": 2**32 - 1}),
    ("cubism", {"tile_saturation": 0.0}),
]


@pytest.fixture
def images() -> np.ndarray:
    """Three images (3, 41, 53, 3): blocks with noise, one of them half black."""
    rng = np.random.default_rng(2)
    blocks = np.kron(rng.integers(0, 200, (3, 11, 14, 3)), np.ones((1, 4, 4, 1), int))
    made = (blocks + rng.integers(0, 56, blocks.shape)).astype(np.uint8)[:, :41, :53]
    made[1, :, 30:] = 0
    return made


def tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_equals_the_filter_on_arrays(
    images: np.ndarray, name: str, settings: dict[str, Any], dtype: torch.dtype, device: str
) -> None:
    expected = np.stack([FILTERS[name](image, **settings) for image in images])
    shown = tensor(images).to(device)
    given = shown if dtype == torch.uint8 else shown.to(dtype) / 255
    before = given.clone()
    result = getattr(batched, name)(given, **settings)
    assert torch.equal(given, before)
    assert (result.dtype, result.device, result.shape) == (dtype, given.device, given.shape)
    levels = result if dtype == torch.uint8 else 255 * result
    error = np.abs(levels.cpu().permute(0, 2, 3, 1).double().numpy() - expected)
    assert error.max() <= 1
    assert (error > 0.6).mean() < 0.02


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (3, 2)])
@pytest.mark.parametrize("name", batched.__all__)
def test_tiny_batches(name: str, shape: tuple[int, int]) -> None:
    small = np.random.default_rng(1).integers(1, 256, (2, *shape, 3), dtype=np.uint8)
    expected = np.stack([FILTERS[name](image) for image in small])
    result = getattr(batched, name)(tensor(small)).permute(0, 2, 3, 1).numpy()
    assert np.abs(result.astype(int) - expected).max() <= 1
    assert getattr(batched, name)(tensor(small)[:0]).shape == (0, 3, *shape)


def test_each_image_has_its_own_seed(images: np.ndarray) -> None:
    result = batched.cubism(tensor(images), seed=[4, 5, 4]).permute(0, 2, 3, 1).numpy()
    for image, seed, found in zip(images, (4, 5, 4), result, strict=True):
        assert np.abs(cubism(image, seed=seed).astype(int) - found).max() <= 1
    with pytest.raises(ValueError, match="seed must be one integer or 3, one an image, got 2"):
        batched.cubism(tensor(images), seed=[4, 5])


@pytest.mark.parametrize("name", batched.__all__)
def test_gradients_reach_the_images(images: np.ndarray, name: str) -> None:
    """Against finite differences along a random direction, where nothing jumps."""
    apply = getattr(batched, name)
    settings = {"photocopy": {"white": 0.0}, "cubism": {"seed": 1}}.get(name, {})
    base = (0.2 + 0.6 * tensor(images).double() / 255).requires_grad_()
    weights = torch.rand(base.shape, generator=torch.Generator().manual_seed(0)).double()
    direction = torch.rand(base.shape, generator=torch.Generator().manual_seed(1)).double() - 0.5

    def value(shown: torch.Tensor) -> torch.Tensor:
        return (weights * apply(shown, **settings)).sum()

    value(base).backward()
    assert base.grad is not None
    slope = float((base.grad * direction).sum())
    with torch.no_grad():
        step = 1e-5 * direction
        rise = float(value(base + step) - value(base - step)) / 2e-5
    assert slope == pytest.approx(rise, rel=1e-3)
    assert abs(slope) > 0.1


@pytest.mark.parametrize("name", batched.__all__)
def test_wrong_batches(name: str) -> None:
    shapes = ((3, 4, 4), (1, 1, 4, 4), (1, 3, 0, 4))
    long = torch.zeros(1, 3, 4, 4, dtype=torch.long)
    for wrong in (np.zeros((1, 3, 4, 4), np.uint8), long, *map(torch.zeros, shapes)):
        with pytest.raises(ValueError, match=r"^images must be .*\(B, 3, H, W\)"):
            getattr(batched, name)(wrong)


def augmentations(library: Any, **common: Any) -> dict[str, Any]:
    made = {
        "photocopy": library.Photocopy(mask_radius=(2, 20), white=(0.1, 0.9), **common),
        "ripple": library.Ripple((2, 9), (10, 40), angle=(-90, 90), **common),
        "cubism": library.Cubism((3, 20), bg_color=(9, 8, 7), **common),
    }
    if library is for_albumentations:
        made["camera"] = library.Camera((0, 3), noise=(5, 20), **common)
    return made


def test_augmentations_take_the_filters_parameters() -> None:
    """All but the seed, in their order and with their defaults; those of their own come after."""
    for library, filters in ((for_kornia, batched.__all__), (for_albumentations, FILTERS)):
        for name in filters:
            given = inspect.signature(FILTERS[name]).parameters.values()
            wanted = [(p.name, p.default) for p in given if p.name not in ("image", "seed")]
            found = inspect.signature(getattr(library, name.capitalize())).parameters.values()
            assert [(p.name, p.default) for p in found][: len(wanted)] == wanted
            if name in batched.__all__:
                names = inspect.signature(getattr(batched, name)).parameters
                assert [*names][1:] == [p.name for p in given][1:]


@pytest.mark.parametrize("name", batched.__all__)
def test_kornia_draws_for_each_image_and_repeats(images: np.ndarray, name: str) -> None:
    shown = tensor(images[:1]).float().expand(4, -1, -1, -1) / 255
    torch.manual_seed(3)
    one = augmentations(for_kornia, p=1.0)[name]
    chain = K.AugmentationSequential(one, K.RandomHorizontalFlip(p=0.5), data_keys=["input"])
    result = chain(shown)
    assert all((result[i] != result[j]).any() for i in range(4) for j in range(i))
    assert torch.equal(chain(shown, params=chain._params), result)
    same = augmentations(for_kornia, p=1.0, same_on_batch=True)[name](shown)
    assert all(torch.allclose(same[i], same[0], atol=1e-5) for i in range(4))
    never = augmentations(for_kornia, p=0.0)[name](shown)
    assert torch.equal(never, shown)


@pytest.mark.parametrize("name", batched.__all__)
def test_kornia_gives_what_the_filter_gives(images: np.ndarray, name: str) -> None:
    one = augmentations(for_kornia, p=1.0)[name]
    result = one(tensor(images).float() / 255)
    numbers = {k: one._params[k].tolist() for k in [*one.spans, *{"seed"} & one._params.keys()]}
    fixed = {"bg_color": (9, 8, 7)} if name == "cubism" else {}
    for i, image in enumerate(images):
        drawn = {k: values[i] for k, values in numbers.items()}
        expected = FILTERS[name](image, **drawn, **fixed)
        assert np.abs(255 * result[i].permute(1, 2, 0).numpy() - expected).max() <= 1


def test_kornia_moves_masks_only_on_request(images: np.ndarray) -> None:
    shown, masks = tensor(images).float() / 255, torch.randint(0, 11, (3, 1, 41, 53)).float()
    settings = {"abyss_policy": "black", "amplitude": (3, 9), "period": (10, 40), "p": 1.0}
    for still in (for_kornia.Ripple(**settings), for_kornia.Cubism(p=1.0)):
        chain = K.AugmentationSequential(still, data_keys=["input", "mask"])
        assert torch.equal(chain(shown, masks)[1], masks)
    one = for_kornia.Ripple(**settings, move_mask=True, fill_mask=255)
    _, found = K.AugmentationSequential(one, data_keys=["input", "mask"])(shown, masks)
    numbers = {k: one._params[k].tolist() for k in one.spans}
    for i in range(3):
        drawn = {k: values[i] for k, values in numbers.items()}
        sources = ripple_sources((41, 53), **drawn, abyss_policy="black")
        expected = moved_labels(masks[i, 0].numpy(), sources, 255)
        np.testing.assert_array_equal(found[i, 0].numpy(), expected)


@pytest.mark.parametrize("name", FILTERS)
def test_albumentations_saves_loads_and_replays(images: np.ndarray, name: str) -> None:
    boxes = A.BboxParams("pascal_voc", label_fields=["labels"])
    chain = A.ReplayCompose(
        [augmentations(for_albumentations, p=0.7)[name]], boxes, A.KeypointParams("xy")
    )
    stay = {"bboxes": [(8, 4, 32, 16)], "labels": [0], "keypoints": [(3, 4)]}
    loaded = A.from_dict(json.loads(json.dumps(A.to_dict(chain))))
    mask, seen = np.arange(41 * 53).reshape(41, 53), set()
    for seed in range(6):
        for one in (chain, loaded):
            one.set_random_seed(seed)
        result = chain(image=images[0], mask=mask, **stay)
        for what in ("bboxes", "keypoints"):
            np.testing.assert_allclose(result[what], stay[what], atol=1e-5)
        np.testing.assert_array_equal(loaded(image=images[0], **stay)["image"], result["image"])
        np.testing.assert_array_equal(result["mask"], mask)
        again = A.ReplayCompose.replay(result["replay"], image=images[0], **stay)["image"]
        np.testing.assert_array_equal(again, result["image"])
        seen.add(result["image"].tobytes())
        (applied,) = result["replay"]["transforms"]
        if applied["applied"]:
            drawn = {k: v for k, v in applied["params"].items() if k not in ("shape", "fill_mask")}
            fixed = {"bg_color": (9, 8, 7)} if name == "cubism" else {}
            expected = FILTERS[name](images[0], **drawn, **fixed)
            np.testing.assert_array_equal(result["image"], expected)
    assert len(seen) > 2


def test_albumentations_moves_masks_on_request(images: np.ndarray) -> None:
    mask = np.random.default_rng(0).integers(0, 11, (41, 53), dtype=np.uint8)
    settings: dict[str, Any] = {"amplitude": 6.0, "period": 23.0, "abyss_policy": "white"}
    one = for_albumentations.Ripple(**settings, move_mask=True, fill_mask=255, p=1.0)
    result = A.Compose([one])(image=images[0], mask=mask, masks=[mask, mask])
    expected = moved_labels(mask, ripple_sources((41, 53), **settings), 255)
    for found in (result["mask"], *result["masks"]):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(result["image"], ripple(images[0], **settings))


@pytest.mark.parametrize("library", [for_albumentations, for_kornia])
@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("Photocopy", {"mask_radius": (5, 51)}, r"mask_radius .*\[0, 50\], got 51"),
        ("Photocopy", {"white": (0.5, 0.1)}, r"white must go from the smaller .*\(0.5, 0.1\)"),
        ("Photocopy", {"black": (0.1, 0.2, 0.3)}, r"black must be a number or two"),
        ("Ripple", {"wave_type": "square"}, "wave_type .*sine, triangle, sawtooth.*'square'"),
        ("Ripple", {"move_mask": 1}, "move_mask must be True or False"),
        ("Cubism", {"bg_color": (0, 0, 256)}, r"bg_color\[2\] .*\[0, 255\], got 256"),
    ],
)
def test_wrong_ranges(library: Any, name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(library, name)(**settings)
