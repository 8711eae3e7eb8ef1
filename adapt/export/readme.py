"""README.md of an export folder: what it holds, how it is run, how close it is to the run."""

from typing import Any

from adapt.export.onnx_graph import OPSET
from adapt.export.recipe import Recipe


def readme_text(about: dict[str, Any], recipe: Recipe, parity: dict[str, Any]) -> str:
    """What is in the folder, how it is run, and how close it is to the run."""
    made, given = about["architecture"], about["input"]
    formats, stride = parity["formats"], about["output"]["stride"]
    parts = [
        f"# {made['name']}, {len(about['classes'])} classes\n\n"
        f"Segmentation network of the run `{about['origin']['run']}`. `model.json` has all that is "
        "known of it.\n\n"
        f"Input: RGB, uint8 0..255, (batch, 3, height, width); normalised inside. {sizes(given)}\n"
        f"Output: logits, one cell for {stride}x{stride} pixels of the image; upsampled "
        "bilinearly (half-pixel centres), their argmax is the class:\n"
        f"{', '.join(f'{i} {name}' for i, name in enumerate(about['classes']))}."
    ]
    if "safetensors" in formats:
        needs = ", ".join(dict.fromkeys(("torch", "safetensors", *made["requires"])))
        parts.append(
            f"## PyTorch\n\nNeeds {needs} (OpenCV and numpy only to read images). Put this folder "
            f"on the path, or copy it into a package.\n\n```python\n{torch_code(given)}```"
        )
        if recipe.root:
            parts.append(f"The network itself comes from your own `{recipe.module}`.")
    if "onnx" in formats:
        parts.append(
            f"## ONNX\n\nOpset {OPSET}; needs onnxruntime (OpenCV and numpy only around it). Input "
            "`image`; outputs `logits`, and `classes`, uint8 (batch, height, width) at the input's "
            "size.\n\n"
            f"```python\n{onnx_code(given)}```"
        )
    parts.append(
        "## Parity\n\nEach format was run in a process without the training project and compared "
        f"with the run itself, fp32 on the CPU, on {len(parity['images']['names'])} images and on "
        "noise of other sizes (`parity.json`):\n\n"
        "| | largest difference of logits | allowed | equal classes | mIoU difference |\n"
        "|---|---|---|---|---|\n" + "\n".join(row(k, v) for k, v in formats.items())
    )
    return "\n\n".join(parts) + "\n"


def row(kind: str, found: dict[str, Any]) -> str:
    """A format's line of the parity table."""
    change = found["miou_difference"]
    shown = "no labels" if change is None else f"{signed(change)} points"
    return (
        f"| {kind} | {found['max_logit_difference']:.2g} of {found['largest_logit']:.3g} | "
        f"{found['tolerance']:.2g} | {found['equal_argmax']:.4f} % | {shown} |"
    )


def signed(points: float) -> str:
    """With four decimals and a sign, but never -0.0000."""
    return f"{round(points, 4) + 0.0:+.4f}"


def sizes(given: dict[str, Any]) -> str:
    """What sizes are taken, in words."""
    multiple = given["multiple_of"]
    every = "Height and width are free"
    if multiple is None:
        every = "It takes one size only"
    elif multiple > 1:
        every = f"Height and width must be multiples of {multiple}"
    if given["resize"] is None:
        return f"{every}; the run was evaluated on images at their own size."
    height, width = given["resize"]
    return (
        f"{every}; the run was evaluated on images brought to {width}x{height} "
        "(by area where that shrinks them, else bilinearly), as below."
    )


def reading(given: dict[str, Any]) -> str:
    """Code that makes `image`, RGB (H, W, 3), and `shown`, what the network sees of it."""
    code = 'image = cv2.cvtColor(cv2.imread("photo.png"), cv2.COLOR_BGR2RGB)\n'
    if given["resize"] is None:
        return code + "shown = image\n"
    height, width = given["resize"]
    return (
        code + f"area = image.shape[0] * image.shape[1] > {height} * {width}\n"
        f"shown = cv2.resize(image, ({width}, {height}), "
        "interpolation=cv2.INTER_AREA if area else cv2.INTER_LINEAR)\n"
    )


def torch_code(given: dict[str, Any]) -> str:
    return (
        "import cv2, torch\nimport load\n\n"
        f"net = load.network()\n{reading(given)}"
        "logits = load.logits(net, torch.from_numpy(shown).permute(2, 0, 1)[None])\n"
        "found = load.classes(logits, image.shape[:2])[0].numpy()  # (H, W)\n"
        'cv2.imwrite("classes.png", found)\n'
    )


def onnx_code(given: dict[str, Any]) -> str:
    found = "found = classes[0]  # (H, W)\n"
    if given["resize"] is not None:
        found = (
            "size = image.shape[1::-1]  # `classes` has the size of `shown`; this is the photo's\n"
            "full = [cv2.resize(m, size, interpolation=cv2.INTER_LINEAR) for m in logits[0]]\n"
            "found = np.argmax(full, axis=0).astype(np.uint8)  # (H, W)\n"
        )
    return (
        "import cv2, onnxruntime\nimport numpy as np\n\n"
        'session = onnxruntime.InferenceSession("model.onnx")\n'
        f"{reading(given)}"
        'logits, classes = session.run(None, {"image": shown.transpose(2, 0, 1)[None]})\n'
        f'{found}cv2.imwrite("classes.png", found)\n'
    )
