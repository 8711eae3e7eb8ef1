"""Several label maps of the same images: what each means, and which of a sample's files it is."""

from collections.abc import Iterable, Sequence

from adapt.data.files import Layout
from adapt.data.samples import Sample, Task, map_fields, with_fields
from adapt.errors import InputError, listing, unknown
from adapt.settings.groups import DataConfig


def tasks_of(config: DataConfig, layout: Layout, own: Task) -> dict[str, Task]:
    """The tasks by name: those of `data.tasks`, or the layout's; {} = one label map without a name.

    Args:
        config: whose `tasks` give each class its mask values, or none: the data set's own classes.
        layout: of the data set.
        own: what its one label map means, where it has one.

    Raises:
        InputError: a task that the layout lacks, or a value that means two things.
    """
    found = {}
    for name, values in config.tasks.items():
        if not values and layout.tasks and name not in layout.tasks:
            raise unknown("data.tasks", name, layout.tasks)
        found[name] = task_of(name, values, own) if values else layout.tasks.get(name, own)
        if not found[name].classes:
            raise InputError(f"data.tasks.{name} has no classes; give '{name}: {{CLASS: [VALUE]}}'")
    return found or dict(layout.tasks)


def task_of(name: str, values: dict[str, list[int]], own: Task) -> Task:
    """The task of this name whose classes have these mask values."""
    codes = [value for each in values.values() for value in each]
    if twice := [v for v in codes if codes.count(v) > 1 or v in own.void]:
        also = "is void" if twice[0] in own.void else "stands twice"
        raise InputError(f"data.tasks.{name}: the value {twice[0]} {also}; each means one thing")
    labels = [label for label, each in enumerate(values.values()) for _ in each]
    return Task(tuple(values), own.void, tuple(codes), tuple(labels))


def with_maps(samples: Sequence[Sample], tasks: Iterable[str], of: str) -> Sequence[Sample]:
    """Samples whose label maps have the names of tasks: a task's own map, else the one of all.

    Raises:
        InputError: a data set (`of`) of several named maps, none of which is a task's.
    """
    own = map_fields(samples)
    fields = [f"{side}_{task}" for task in tasks for side in ("y1", "y2")]
    made = with_fields(samples, {field: field if field in own else field[:2] for field in fields})
    if lost := own and [t for t in tasks if f"y1_{t}" not in map_fields(made)]:
        names = sorted({field.partition("_")[2] for field in own})
        raise InputError(
            f"data.tasks.{lost[0]}: {of} has no label map of this name; it has {listing(names)}"
        )
    return made


def only(samples: Sequence[Sample], task: str) -> Sequence[Sample]:
    """Samples with the map of one task as their only one."""
    return with_fields(samples, {side: f"{side}_{task}" for side in ("y1", "y2")})
