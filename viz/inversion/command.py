"""The invert command: one image as teacher and students see it, side by side (003, Figure 6)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapt.data.augment import resize
from adapt.data.images import as_rgb, read_image, write_png
from adapt.disk.files import write_json, write_whole
from adapt.disk.runs import place_in, read_config, read_data
from adapt.errors import InputError
from adapt.machine.runtime import Runtime, runtime, say
from adapt.networks.layers import auto_taps, check, trace
from adapt.networks.recorder import Layer
from adapt.networks.saved import is_run, load_model, load_teacher
from adapt.settings.checks import AUTO
from adapt.settings.mapping import as_dict
from adapt.settings.viz import RELATIVE, TEACHER, InvertConfig
from viz.figures import COLOURS, drawing, legend_below, picture_grid, png, whole_ticks
from viz.inversion.style import Inversion, invert_image
from viz.pictures import is_file_name

TAPS = [f"pool{number}" for number in range(1, 6)]
"""The paper's layers, used where the configuration names none."""

ORIGINAL, CURVES, MONTAGE = "original", "curves.json", "montage.png"


def invert(config: InvertConfig) -> Path:
    """Invert one image by a run's network and, where it has one, by its teacher.

    Returns the folder, `config.out` or <run>/inversion/<image's stem>, where `invert_all` writes;
    the names are teacher and student, or network for a run without teacher.

    Raises:
        InputError: no such run or image, or a layer that the network lacks.
        Stopped: a loss that is not finite (status 3).
    """
    if not config.run or not config.image:
        raise InputError(
            f"invert needs run=DIR and image=FILE; got run={config.run!r}, image={config.image!r}"
        )
    run, image = Path(config.run), Path(config.image)
    teacher = read_config(run)["teacher"]
    networks = {TEACHER: Path(teacher), "student": run} if teacher else {"network": run}
    out = place_in(run, config.out, f"inversion/{image.stem}")
    return invert_all(networks, image, out, config)


def invert_all(networks: Mapping[str, Path], image: Path, out: Path, config: InvertConfig) -> Path:
    """Invert one image by several runs' networks into one folder, which is returned.

    Args:
        networks: name in titles and file names -> run folder.
        image: the image, at any size.
        out: receives original.png, <name>.png, curves.json, curves.png, montage.png; what lies
            there is replaced.
        config: everything else; its run, image and out are not read. The size is config.size or
            what the first run was trained at.

    Raises:
        InputError, Stopped: as `invert`; also a name that cannot be a file's.
    """
    check_names(networks)
    runs = {name: load_model(p, name) for name, p in networks.items() if is_run(str(p))}
    like, first = next(iter(runs.values())), networks[next(iter(runs))]
    recorded, data = read_config(first), read_data(first)
    models = {n: runs.get(n) or load_teacher(str(p), recorded, like) for n, p in networks.items()}
    size = config.size or data.resize
    original = resize({"x1": read_image(image, *data.reading("x1"))}, size)["x1"]
    shape = (original.shape[0], original.shape[1])
    layers = {name: trace(model.net, shape) for name, model in models.items()}
    taps = weights_of(config.taps, next(iter(layers.values())))
    for name, found_there in layers.items():
        check(found_there, taps, f"taps, of the {name}")
    machine = machine_of(config)
    if config.maps == TEACHER and TEACHER not in models:
        raise InputError(f"maps=teacher needs a run with a teacher; there is {', '.join(models)}")
    known = [replace(model.network, keys={}) for model in models.values()]
    if config.maps == TEACHER and any(network != known[0] for network in known):
        raise InputError("maps=teacher: teacher and student are two networks; give maps=own")
    wanted = machine.place(models[TEACHER].net).eval() if config.maps == TEACHER else None
    names = ("loss", "content", "style", "tv", "optimizer", "lr", "steps", "seed")
    settings = {name: getattr(config, name) for name in names}
    found: dict[str, Inversion] = {}
    for name, model in models.items():
        net = machine.place(model.net)
        found[name] = invert_image(
            net, model.network, original, taps, machine=machine, wanted=wanted, **settings
        )
        curve = found[name].curve
        if curve[-1]["loss"] > curve[0]["loss"]:
            say(f"warning: {name}: the loss rose; try a lower lr than {config.lr or 'the default'}")
    given = replace(config, run="", image=str(image), out="", taps=taps, size=size)
    about = {
        name: {"run": str(run), "model": models[name].digest, "curve": found[name].curve}
        for name, run in networks.items()
    }
    write_json(out / CURVES, {"settings": as_dict(given), "networks": about})
    images = {ORIGINAL: original} | {name: one.image for name, one in found.items()}
    pictures = {name: as_rgb(picture) for name, picture in images.items()}
    for name, picture in pictures.items():
        write_png(out / f"{name}.png", picture)
    unit = "relative squared difference" if config.loss == RELATIVE else "squared difference"
    curves = {name: one.curve for name, one in found.items()}
    write_whole(out / "curves.png", curves_chart(curves, unit))
    montage = picture_grid([("", list(pictures.items()))], side=2.6)
    write_whole(out / MONTAGE, montage)  # the last one: that it is there says that all is
    say(f"{out}: {image.name} as seen by {', '.join(networks)}")
    return out


def weights_of(taps: Any, layers: Sequence[Layer]) -> dict[str, float]:
    """The weight of each layer that the setting `taps` means in the first network."""
    if taps in ("", AUTO):
        known = {name for layer in layers for name in (layer.name, *layer.aliases)}
        names = list(auto_taps(layers)) if taps or not known.issuperset(TAPS) else []
        if names:
            say(f"taps=auto takes {', '.join(names)}")
        taps = names or TAPS
    return dict(taps) if isinstance(taps, dict) else dict.fromkeys(map(str, taps), 1.0)


def machine_of(config: InvertConfig) -> Runtime:
    """Device and precision: `auto` is fp32 for lbfgs, what the device does best for the others."""
    exact = config.optimizer == "lbfgs" and config.precision == "auto"
    return runtime(config.device, "fp32" if exact else config.precision)


def check_names(networks: Mapping[str, Path]) -> None:
    """Names become files beside original.png, so they must be plain."""
    if not networks:
        raise InputError("inversion: no networks given")
    for name in networks:
        if not is_file_name(name) or name in (ORIGINAL, "curves", "montage"):
            raise InputError(f"inversion: {name!r} cannot name a network: it becomes a file's name")


def curves_chart(curves: Mapping[str, Sequence[Mapping[str, float]]], unit: str) -> bytes:
    """Raw content and style terms of each layer against steps, one panel for each network."""
    with drawing(4.2 * len(curves), 3.2, len(curves)) as (figure, axes):
        for axis, (name, curve) in zip(axes, curves.items(), strict=True):
            steps = [entry["step"] for entry in curve]
            terms = [key for key in curve[0] if "/" in key]
            taps = dict.fromkeys(key.split("/", 1)[1] for key in terms)
            colours = dict(zip(taps, COLOURS * len(taps), strict=False))
            for key in terms:
                kind, tap = key.split("/", 1)
                values = [entry[key] for entry in curve]
                line = "-" if kind == "content" else ":"
                axis.plot(steps, values, line, color=colours[tap], label=key)
            axis.plot(steps, [e["loss"] for e in curve], color="black", alpha=0.5, label="loss")
            axis.set(title=name, xlabel="step", yscale="log")
            whole_ticks(axis)
        axes[0].set_ylabel(unit)
        legend_below(figure, axes, 3 * len(curves))
        return png(figure)
