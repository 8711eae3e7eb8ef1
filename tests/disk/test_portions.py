"""part=i/n: which files a part has, however the calls are counted, and what is refused."""

from pathlib import Path

import pytest
from commands import settings_of

from adapt.disk.portions import Portion, one_writer
from adapt.errors import InputError
from adapt.settings.commands import ScanConfig


@pytest.mark.parametrize("total", [0, 1, 7, 64])
@pytest.mark.parametrize("count", [1, 3, 16])
@pytest.mark.parametrize("block", [1, 5])
def test_parts_are_all_items_in_their_order_however_an_array_is_counted(
    total: int, count: int, block: int
) -> None:
    """--array=0-15 and --array=1-16 are the same parts; none starts or ends within a block."""
    for first in (0, 1):
        numbers = range(first, first + count)
        parts = [Portion.of_setting(f"{i}/{count}").of(range(total), block) for i in numbers]
        assert sorted(item for part in parts for item in part) == [*range(total)]
    joined = [item for part in Portion.of_setting(f"all/{count}").each
              for item in part.of(range(total), block)]  # fmt: skip
    assert joined == [*range(total)]
    assert all(part[0] % block == 0 for part in parts if part)
    sizes = [-(-len(part) // block) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert Portion.of_setting("").of(range(total)) == range(total)


def test_what_slurm_gives_is_read_by_hydra_and_other_words_are_refused() -> None:
    assert settings_of("scan", "part=3/16").part == "3/16"
    assert settings_of("predict", "run=a", "out=b", "part=all/16").part == "all/16"
    for wrong in ("3/1", "17/16", "1/0", "3", "-1/4", "1/4/4", "some/4", "1.5/4"):
        with pytest.raises(InputError, match=f"part is '{wrong}'; give i/n, where i counts from 1"):
            ScanConfig(part=wrong)


def test_parts_of_another_number_are_refused(tmp_path: Path) -> None:
    """SLURM_ARRAY_TASK_COUNT is 1 where a single task is submitted again."""
    for number in (1, 4):
        Portion(number, 16).record(tmp_path).write_text("{}")
    with pytest.raises(InputError, match=r"has parts of 16, not of 1: give i/16"):
        Portion.of_setting("1/1").check(tmp_path)
    Portion.of_setting("").check(tmp_path)
    with pytest.raises(InputError, match=r"lacks part=2/16, part=3/16, part=5/16.*part=all/16"):
        Portion.of_setting("all/16").records(tmp_path)


def test_a_part_has_one_writer_and_others_may_write_beside_it(tmp_path: Path) -> None:
    begun = list[str]()
    with one_writer(tmp_path / "out", Portion(1, 2), lambda: begun.append("first")):
        with one_writer(tmp_path / "out", Portion(2, 2), lambda: begun.append("second")):
            assert begun == ["first", "second"]
        again = one_writer(tmp_path / "out", Portion(1, 2), lambda: begun.append("again"))
        with pytest.raises(InputError, match="part=1/2: out: another process is writing"), again:
            pass
