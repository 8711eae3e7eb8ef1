"""The teacher's maps, kept: same losses, each view computed once, refused where it cannot be."""

from pathlib import Path

import pytest
import torch
from tiny import adapting, curve, refused, same

from adapt.settings.groups import DataConfig
from adapt.training import teacher_cache
from adapt.training.teacher_cache import TeacherCache
from adapt.training.train import train

GEOMETRY = {
    "none": {"flip": False, "crop": []},
    "mirrored": {"flip": True, "crop": []},
    "views": {"crop": [32, 40], "views": 3, "jitter_x1": 0.2, "jitter_x2": 0.3},
}


def configured(world: Path, run: Path, name: str, **changes: object):
    data = DataConfig(target=str(world / "d2"), explicit=["crop", "flip"], **GEOMETRY[name])
    return adapting(world, run, data=data, steps=12, bn="eval", **changes)


@pytest.mark.parametrize(
    ("name", "where", "layout"),
    [
        ("none", "file", "channels_last"), ("mirrored", "ram", "contiguous"),
        ("views", "file", "channels_last"),
    ],
)  # fmt: skip
def test_losses_and_weights_are_the_same_and_each_view_is_computed_once(
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    where: str,
    layout: str,
) -> None:
    computed = []
    original = TeacherCache.__call__

    def counting(cache: TeacherCache, views: torch.Tensor, compute, device):
        def noted():
            computed.append(views.tolist())
            return compute()

        return original(cache, views, noted, device)

    monkeypatch.setattr(TeacherCache, "__call__", counting)
    train(configured(world, tmp_path / "without", name, memory_format=layout))
    assert not computed
    changes = {"memory_format": layout, "cache_teacher": where}
    train(configured(world, tmp_path / "with", name, **changes))
    views = {"none": 6, "mirrored": 12, "views": 18}[name]
    assert f"teacher's maps of {views} views are kept in " in capsys.readouterr().out
    assert 0 < len(computed) < 12, "some batches came from what was kept"
    assert {view for batch in computed for view in batch} <= set(range(views))
    assert same(tmp_path / "without", tmp_path / "with")
    losses = [[r["loss"] for r in curve(tmp_path / run)] for run in ("without", "with")]
    assert losses[0] == losses[1]
    assert not list((tmp_path / "with").glob("*teacher_maps*"))


def test_views_without_end_are_refused_before_anything_is_written(
    world: Path, tmp_path: Path
) -> None:
    config = adapting(world, tmp_path / "run", cache_teacher="ram")  # crops, as the teacher's run
    refused(config, r"cache_teacher=ram: .*data\.crop.*data\.views=N")


@pytest.mark.parametrize(("where", "words"), [("ram", "in memory"), ("file", "on the disk of")])
def test_maps_that_do_not_fit_are_refused_with_both_sizes(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, words: str
) -> None:
    monkeypatch.setattr(teacher_cache, "free_memory", lambda: 1000)
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(teacher_cache.shutil, "disk_usage", lambda _: usage)
    refused(
        configured(world, tmp_path / "run", "none", cache_teacher=where),
        rf"views take 0\.00 GB; 0\.00 GB are free {words}",
    )


def test_maps_keep_their_type_and_shape(tmp_path: Path) -> None:
    example = {"a": torch.zeros(1, 2, 3, 4, dtype=torch.bfloat16), "b": torch.zeros(1, 5, 1, 1)}
    cache = TeacherCache(7, example, tmp_path)
    assert cache.bytes == 7 * (24 * 2 + 5 * 4)
    found = {"a": torch.randn(2, 2, 3, 4).bfloat16(), "b": torch.randn(2, 5, 1, 1)}
    views = torch.tensor([6, 0])
    assert cache(views, lambda: found, torch.device("cpu")) is found
    again = cache(views.flip(0), lambda: pytest.fail("was kept"), torch.device("cpu"))
    for tap, maps in again.items():
        assert maps.dtype == found[tap].dtype and torch.equal(maps, found[tap].flip(0))
    assert list(tmp_path.iterdir()) == []
