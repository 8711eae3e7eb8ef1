"""From mappings (YAML, JSON) to the dataclasses of settings and of records, and back."""

from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from adapt.errors import InputError, listing, unknown
from adapt.settings.choices import start_named
from adapt.settings.groups import WHICH, DataConfig, NetworkConfig, TeacherNetworkConfig

T = TypeVar("T")

DRAWN = "scenes"
"""The data set that is drawn where its folder is missing."""

FOLDERS = "pairs"
"""The data set of two folders, whose labels have a folder of their own."""

NEW_DOMAIN = ("target", "targets", "pairs", "shards")
"""Fields of DataConfig that each say where the new images are."""

EXPLICIT = "explicit"
"""The field of an inheritable group that names what was given on the command line."""


def build(schema: type[T], values: Any, where: str = "", others: bool = False) -> T:
    """An instance of the dataclass `schema` from a nested mapping.

    `where` stands before a key in messages; with `others` keys that the schema lacks may be there.

    Raises:
        InputError: a key that the schema lacks, one without default that is missing, a value of
            another type, or one that the dataclass itself refuses.
    """
    place = where.rstrip(". :") or "configuration"
    if not isinstance(values, dict):
        raise InputError(f"{place} is {values!r:.60}; it must be a mapping")
    hints, every = hints_of(schema), fields(schema)  # type: ignore[arg-type]
    names = [f.name for f in every]
    for key in values:
        if key not in names and not others:
            raise unknown(f"{where}{key}", key, names)
    needed = (f.name for f in every if f.default is MISSING and f.default_factory is MISSING)
    if missing := [name for name in needed if name not in values]:
        raise InputError(f"{place}: it has no {listing(missing)}")
    known = [name for name in names if name in values]
    return schema(**{k: convert(hints[k], values[k], f"{where}{k}", others) for k in known})


@cache
def hints_of(schema: type) -> Mapping[str, Any]:
    """Types of a dataclass's fields; they take longer to find than a line of a record to read."""
    return get_type_hints(schema)


def convert(hint: Any, value: Any, where: str, others: bool = False) -> Any:
    """`value` checked against a type hint; ints pass as floats, nothing else is coerced."""
    origin, inner = get_origin(hint), get_args(hint)
    if isinstance(value, str) and "\0" in value:
        raise InputError(f"{where} is {value!r}; no name or path has a NUL character")
    if hint is Any:
        return value
    if is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else build(hint, value, f"{where}.", others)
    if origin is list and isinstance(value, list | tuple):
        return [convert(inner[0], v, f"{where}[{i}]", others) for i, v in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {str(k): convert(inner[1], v, f"{where}.{k}", others) for k, v in value.items()}
    if origin is UnionType:  # X | None
        wanted = next(a for a in inner if a is not NoneType)
        return None if value is None else convert(wanted, value, where, others)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if origin not in (list, dict) and isinstance(value, hint):
        if hint is not bool and isinstance(value, bool):
            raise InputError(f"{where} is {value!r}; it must be of type {hint.__name__}")
        return value
    wanted = hint.__name__ if isinstance(hint, type) else hint
    raise InputError(f"{where} is {value!r}; it must be of type {wanted}")


def check_record(schema: type, values: Any, where: str) -> None:
    """A file's mapping must have what its readers use, the fields of a dataclass; others may stand
    beside them. It raises as `build` does."""
    build(schema, values, f"{where}: ", others=True)


def as_dict(config: Any) -> dict[str, Any]:
    """A dataclass as nested dicts and lists, ready for YAML or JSON."""
    return asdict(config)


def default_of(field: Field[Any]) -> Any:
    """The default of a dataclass's field; MISSING where it has none."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def defaults_of(schema: type) -> dict[str, Any]:
    """The defaults of a dataclass as nested dicts, also of one that refuses to be made of them."""
    found = {f.name: default_of(f) for f in fields(schema)}
    return {k: as_dict(v) if is_dataclass(v) else v for k, v in found.items()}


def inherit(given: Any, recorded: T) -> T:
    """`recorded` with every field replaced that `given` sets: to something other than its default,
    or, by name in `given.explicit`, to whatever it has.

    This is how `evaluate` and `adapt` know the crop, the size and the network of the run that they
    continue without being told again.
    """
    default, values = type(given)(), as_dict(given)
    explicit = values.get(EXPLICIT, [])
    kept = {k: v for k, v in values.items() if k in explicit or v != getattr(default, k)}
    return build(type(recorded), {**as_dict(recorded), **kept, EXPLICIT: []})


def inherit_network(given: NetworkConfig, recorded: NetworkConfig) -> NetworkConfig:
    """As `inherit`; a network of another name has nothing of the recorded one."""
    named = "name" in given.explicit or given.name != type(given).name
    other = named and given.name != recorded.name
    return inherit(given, NetworkConfig() if other else recorded)


def teachers_network(resolved: TeacherNetworkConfig, student: NetworkConfig) -> NetworkConfig:
    """The teacher's network by a configuration as it is run and recorded, which has the whole of it
    where it is not the student's."""
    if resolved.name:
        return NetworkConfig(**as_dict(resolved))
    return inherit(resolved, student)


def inherit_data(given: DataConfig, recorded: DataConfig) -> DataConfig:
    """As `inherit`; of a run on another data set only how images are read, not which ones. Another
    new domain, whichever of NEW_DOMAIN names it, takes the place of all that are recorded, with the
    transforms that belong to them; one of several is picked. Another folder of old images, where
    the recorded one is still there, has neither its labels nor its partners.

    Raises:
        InputError: scenes would be drawn into a folder that only the record names.
    """
    if given.name and given.name != recorded.name:
        default = DataConfig()
        recorded = replace(recorded, **{what: getattr(default, what) for what in WHICH})
    if recorded.name == FOLDERS and another_folder(given.root, recorded.root):
        recorded = replace(recorded, labels="", target="", targets={}, transforms="")
    if given.pairs and given.pairs in recorded.targets.values():  # its parts are those of all
        given = replace(given, target=given.pairs, pairs="")
    named = {what: where for what in NEW_DOMAIN if (where := getattr(given, what))}
    other = any(where != getattr(recorded, what) for what, where in named.items())
    if other and given.target not in recorded.targets.values():
        labels = "" if given.pairs or given.shards else recorded.labels  # lists have their own
        recorded = replace(
            recorded, target="", targets={}, pairs="", shards="", transforms="", labels=labels
        )
    found = inherit(given, recorded)
    if found.name == DRAWN and not given.root and not Path(found.root).exists():
        raise InputError(
            f"data.root: {found.root}, which the run recorded, is not there; give data.root=DIR to "
            "draw the scenes again"
        )
    return found


def another_folder(root: str, recorded: str) -> bool:
    """Is another folder given than one that is there?"""
    place = Path(recorded)
    return bool(root and recorded) and place.is_dir() and place.resolve() != Path(root).resolve()


def filled(values: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    """`values` with what it lacks taken from `default`, in nested mappings too: a record of an
    earlier version, which did not know every setting."""
    if isinstance(values.get("start"), str):
        values = values | {"start": start_named(values["start"])}
    return {
        key: filled(values[key], value)
        if isinstance(value, dict) and value and isinstance(values.get(key), dict)
        else values.get(key, value)
        for key, value in (default | {k: v for k, v in values.items() if k not in default}).items()
    }


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{a: {b: 1}} -> {"a.b": 1}; empty mappings stay as leaves."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, dict) and value
        flat.update(flatten(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value})
    return flat


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """`key: old -> new` for every dotted key that differs."""
    a, b = flatten(old), flatten(new)
    missing = "(absent)"
    return [
        f"{key}: {a.get(key, missing)!r} -> {b.get(key, missing)!r}"
        for key in sorted(a.keys() | b.keys())
        if a.get(key, missing) != b.get(key, missing)
    ]
