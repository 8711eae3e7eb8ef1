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
from adapt.settings.choices import ADABN, RESTYLES
from adapt.settings.commands import EvaluateConfig
from adapt.settings.groups import DataConfig
from adapt.settings.mapping import inherit_data
from adapt.training.training_free import AS_IT_IS, scored, training_free
from adapt.training.verdict import resampled


def test_scores_are_those_of_evaluate(world: Path) -> None:
    teacher, data = world / "teacher", DataConfig(target=str(world / "d2"))
    model, settings = load_model(teacher), inherit_data(data, read_data(teacher))
    machine = runtime("cpu", "fp32")
    reading = Reading(settings, model.network, 2, 0)
    lists = load(settings, "val"), load(settings, "train")
    found = training_free(machine, machine.place(model.net), reading, *lists)
    assert [score.name for score in found.scores] == [AS_IT_IS, ADABN, *RESTYLES]
    assert found.pairs == 3 and "fewer than 10 held-out pairs: 3" in found.reasons
    for score, how in zip(
        found.scores, ({}, {"adabn": True}, *({"restyle": name} for name in RESTYLES)), strict=True
    ):
        path = evaluate(
            EvaluateConfig(teacher=str(teacher), domain="d2", data=data, device="cpu",
                           precision="fp32", batch=2, **how)  # type: ignore[arg-type]
        )  # fmt: skip
        assert score.agreement == pytest.approx(read_json(path)["agreement"]["miou"], abs=1e-9)
    plain = {name: rows[AS_IT_IS] for name, rows in found.views.items()}
    assert len(plain) == 3
    for name, rows in found.views.items():
        for restyle in RESTYLES:
            assert (rows[restyle]["x1"] == plain[name]["x1"]).all()
            assert (rows[restyle]["x2"] != plain[name]["x2"]).any(), "restyled"


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
    assert valid[ADABN].gain == pytest.approx((10, 10)) and valid[ADABN].helps
    assert valid["fda"].gain == pytest.approx((-10, -10)) and not valid["fda"].helps
    low, high = valid[AS_IT_IS].interval or (0, 0)
    assert low < 100 * hits.sum() / 600 < high and valid[AS_IT_IS].gain is None
    draws = resampled(rows[AS_IT_IS][:, None])[:, 0]
    assert (low, high) == pytest.approx(np.percentile(draws, (5, 95)))
    void = {name: np.concatenate([x, 0 * x[:3]]) for name, x in rows.items()}
    assert scored(void) == valid
    nothing = scored({AS_IT_IS: 0 * rows[AS_IT_IS][:1]})[AS_IT_IS]
    assert nothing.agreement is None and nothing.interval is None
