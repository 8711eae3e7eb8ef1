"""Objects that training programs keep beside the weights, and that are read as empty stand-ins.

torch's unpickler for weights asks a table what a name in the file means. Here the names below mean
a stand-in, so that neither their modules are imported nor anything of them is run.
"""

from collections import OrderedDict
from typing import Any


class Skipped:
    """Stands for an object whose content is of no interest."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


class Mapped:
    """Makes the plain mapping that stands for one of a class of its own."""

    def __new__(cls, *_: Any) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


OBJECTS = (
    "argparse.Namespace", "types.SimpleNamespace", "typing.Any", "enum.Enum",
    "builtins.bool", "builtins.dict", "builtins.float", "builtins.frozenset", "builtins.int",
    "builtins.list", "builtins.object", "builtins.str", "builtins.tuple", "builtins.slice",
    "collections.deque", "datetime.date", "datetime.datetime", "datetime.timedelta",
    "datetime.timezone", "decimal.Decimal", "fractions.Fraction", "uuid.UUID",
    *(f"{module}.{kind}" for module in ("pathlib", "pathlib._local") for kind in (
        "Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")),
    "numpy.dtype", "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{made}" for core in ("core", "_core") for made in (
        "scalar", "_reconstruct")),
    *(f"omegaconf.{name}" for name in (
        "base.ContainerMetadata", "base.Metadata", "dictconfig.DictConfig", "listconfig.ListConfig",
        "nodes.AnyNode", "nodes.BooleanNode", "nodes.BytesNode", "nodes.EnumNode",
        "nodes.FloatNode", "nodes.IntegerNode", "nodes.PathNode", "nodes.StringNode")),
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "torch.torch_version.TorchVersion",
    "mmengine.logging.history_buffer.HistoryBuffer",
)  # fmt: skip
"""Values: times, paths, numpy's arrays and numbers, hyper-parameters of argparse and omegaconf,
callbacks as keys of an older Lightning, MMEngine's log."""
MAPPINGS = (
    "collections.defaultdict", "addict.addict.Dict", "easydict.EasyDict", "yacs.config.CfgNode",
    "mmcv.utils.config.ConfigDict", "mmengine.config.config.ConfigDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
)  # fmt: skip
"""Subclasses of dict, whose entries are kept."""
STAND_INS: list[Any] = [(Skipped, name) for name in OBJECTS] + [(Mapped, n) for n in MAPPINGS]
"""As torch.serialization.safe_globals takes them: what is called, and for which name."""
