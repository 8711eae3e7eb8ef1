"""A seeded sample of tests/campaigns/faults.py, and that it would notice."""

from pathlib import Path

import numpy as np
import pytest
from campaigns import faults
from campaigns.faults import FAILURES, MADE, Campaign, cases, judge

from adapt.disk.files import writing
from adapt.penalties import fisher

WRITERS = {name: faults.WRITERS[name] for name in ("train", "make_distorted_voc", "fisher")}
OF_TEACHER = ("evaluate, of the teacher", "start, of the teacher", "train, again")
READERS = {name: faults.READERS[name] for name in OF_TEACHER}


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """Of commands that need a teacher alone."""
    return Campaign(tmp_path_factory.mktemp("faults"), MADE[:2])


def test_a_sample_of_faults(campaign: Campaign) -> None:
    found = cases(campaign, WRITERS, READERS)
    for number in np.random.default_rng(7).permutation(len(found))[:12]:
        done = judge(campaign, found[number])
        assert done["outcome"] not in FAILURES, done


def test_a_file_that_is_written_in_place_is_noticed(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_place(path: Path, content: bytes) -> None:
        with writing(path):
            path.write_bytes(content)

    monkeypatch.setattr(fisher, "write_whole", in_place)
    campaign.kept.clear()
    found = [judge(campaign, ("write", "fisher", str(number)))["outcome"] for number in (2, 3)]
    campaign.kept.clear()
    assert found == ["named", "half written"]
