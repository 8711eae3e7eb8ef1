"""What helps without a training: the numbers are evaluate's, with the verdict's intervals."""

from pathlib import Path

import numpy as np
import pytest

from adapt.data import load
from adapt.disk.files import read_json
from adapt.disk.runs import read_data
from adapt.evaluation.evaluate import evaluate
from adapt.evaluation.inference import Reading
from adapt.machine.runtime import runtime
from adapt.networks.saved import load_model
from adapt.settings.choices import ADABN, RESTYLES, RIDGE
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import inherit_data
from adapt.training.resampling import resampled
from adapt.training.training_free import AS_IT_IS, ROWS, scored, training_free


def test_scores_are_those_of_evaluate(world: Path) -> None:
    teacher, data = world / "teacher", DataConfig(target=str(world / "d2"))
    model, settings = load_model(teacher), inherit_data(data, read_data(teacher))
    machine = runtime("cpu", "fp32")
    reading = Reading(settings, model.network, 2, 0)
    lists = load(settings, "val"), load(settings, "train")
    found = training_free(machine, machine.place(model.net), reading, *lists)
    rows: dict[str, dict[str, object]] = {
        name: {"restyle": restyle, "adabn": bool(adabn)} for (restyle, adabn), name in ROWS.items()
    }
    rows[RIDGE] = {"ridge": True}
    assert {score.name for score in found.scores} == rows.keys() and not found.no_adabn
    assert found.pairs == 3 and "fewer than 10 held-out pairs: 3" in found.reasons
    for score in found.scores:
        path = evaluate(
            EvaluateConfig(teacher=str(teacher), domain="d2", data=data, device="cpu", batch=2,
                           precision="fp32", **rows[score.name])  # type: ignore[arg-type]
        )  # fmt: skip
        assert score.agreement == pytest.approx(read_json(path)["agreement"]["miou"], abs=1e-9)
    assert len(found.views) == 3
    for views in found.views.values():
        for restyle in RESTYLES:
            assert (views[restyle]["x1"] == views[""]["x1"]).all()
            assert (views[restyle]["x2"] != views[""]["x2"]).any(), "restyled"


def test_gains_are_over_the_same_draws() -> None:
    """A row that is better on every pair by as much has a gain without spread, whatever the pairs'
    own; pairs without a valid pixel count nowhere."""
    rng = np.random.default_rng(0)
    hits = rng.integers(10, 40, 12)
    pixels = np.full(12, 50)

    def counts(right: np.ndarray) -> np.ndarray:
        return np.stack([right, pixels, right], axis=1)[..., None].astype(np.int64)

    rows = {AS_IT_IS: counts(hits), ADABN: counts(hits + 5), "fda": counts(hits - 5)}
    valid = scored(rows)
    own, better, worse = valid
    assert better.gain == pytest.approx((10, 10)) and better.helps and not better.harms
    assert worse.gain == pytest.approx((-10, -10)) and worse.harms and not worse.helps
    low, high = own.interval or (0, 0)
    assert low < 100 * hits.sum() / 600 < high and own.gain is None
    draws = resampled(rows[AS_IT_IS][:, None])[:, 0]
    assert (low, high) == pytest.approx(np.percentile(draws, (5, 95)))
    assert scored({name: np.concatenate([x, 0 * x[:3]]) for name, x in rows.items()}) == valid
    (nothing,) = scored({AS_IT_IS: 0 * rows[AS_IT_IS][:1]})
    assert np.isnan(nothing.agreement) and nothing.interval is None
