"""The notebook runs, and the site's page is made of it."""

import json

from docs.make_notebook import NOTEBOOK, executed, page


def test_the_page_is_the_notebook() -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    assert NOTEBOOK.with_suffix(".md").read_text() == page(notebook), "make notebook"
    assert all(c["outputs"] for c in notebook["cells"] if "print(" in "".join(c["source"]))


def test_the_notebook_runs_at_a_few_steps() -> None:
    found = executed(json.loads(NOTEBOOK.read_text()), TRAINING=2, STEPS=2)
    printed = "".join("".join(o["text"]) for c in found["cells"] for o in c.get("outputs", []))
    assert "held-out pairs" in printed and printed.count("mIoU") == 3
