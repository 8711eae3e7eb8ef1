"""What agreement lets one expect of the gain by labels, and that its numbers are the records'."""

from pathlib import Path

import numpy as np
import pytest

from adapt.disk.files import read_json
from adapt.training import expected as product
from results.page import expected
from results.page.records import load

ROOT = Path(__file__).resolve().parents[2]


def test_the_products_numbers_are_those_of_the_committed_records() -> None:
    made = expected.calibration(load(ROOT / "results/evidence"))
    assert made == read_json(ROOT / "results/expected.json")
    assert made["exponent"] == product.EXPONENT
    assert round(made["margin"], 1) == product.MARGIN


def test_expected_scores_are_those_of_no_and_of_full_agreement() -> None:
    assert product.expected(0, 52.0) == 0
    assert product.expected(100, 52.0) == pytest.approx(52.0)
    assert product.expected(60, 100.0) == 60
    gain, low, high = product.expected_gain(30, 60, 52.0)
    assert gain == pytest.approx(product.expected(60, 52.0) - product.expected(30, 52.0))
    assert high - low == pytest.approx(2 * product.MARGIN)


def cell(rng: np.random.Generator, number: int, exponent: float = 2.0) -> expected.Cell:
    """Runs whose gains are off by an error that a cell's runs share, and one of their own."""
    runs = int(rng.integers(1, 30))
    before, after, clean = rng.uniform(10, 40, runs), rng.uniform(30, 80, runs), 50.0
    gain = product.expected(after, clean, exponent) - product.expected(before, clean, exponent)
    gain += rng.normal(0, 2) + rng.normal(0, 1, runs)
    columns = [before, after, np.zeros(runs), gain, np.full(runs, clean)]
    return expected.Cell(f"teacher {number}", f"family {number}", np.stack(columns, axis=1))


def test_the_exponent_of_made_up_runs_is_found() -> None:
    rng = np.random.default_rng(0)
    assert expected.fitted([cell(rng, n, 3.0) for n in range(200)]) == pytest.approx(3.0, abs=0.15)


def test_the_interval_covers_a_run_of_a_new_cell_as_often_as_it_says() -> None:
    rng, inside = np.random.default_rng(0), []
    for _ in range(400):
        *known, new = (cell(rng, n) for n in range(21))
        inside.append(abs(expected.errors(new, 2.0)[0]) <= expected.margin(known, 2.0))
    assert 0.87 <= np.mean(inside) <= 0.95


def test_too_few_cells_have_no_finite_interval() -> None:
    rng = np.random.default_rng(0)
    few = [cell(rng, n) for n in range(expected.FEWEST - 1)]
    assert expected.margin(few, 2.0) == float("inf")
    assert np.isfinite(expected.margin([*few, cell(rng, 99)], 2.0))
