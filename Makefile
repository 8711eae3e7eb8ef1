# Two commands do all set-up: `make demo` and `make test`. TORCH=cpu takes PyTorch without CUDA.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: demo test quick check campaign docs results speedrun settings notebook bench setup clean

demo: $(READY)  ## the whole study on the embedded data set; ends with a report to open
	$(BIN)/python scripts/study.py experiment=demo

test: $(READY)  ## all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder

quick: $(READY)  ## the tests that start no process of their own, in two minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadfile --no-loadscope-reorder -m "not system"

check: $(READY)  ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

campaign: $(READY)  ## every write fails once, every file of a run is damaged once: an hour
	OMP_NUM_THREADS=1 $(BIN)/python tests/campaigns/faults.py

docs: $(READY)  ## the documentation site, in site/
	$(BIN)/zensical build --strict

results: $(READY)  ## docs/results*, README's front table and docs/contest.md from their records
	$(BIN)/python -m results.page --readme README.md
	$(BIN)/python -m results.page --contest

speedrun: $(READY)  ## time to quality (docs/contest.md): DATA is CamVid's folder, round 1 has run
	$(BIN)/python scripts/speedrun.py --teachers 'runs/camvid_contest/seed{seed}/teacher' \
		--twins 'runs/camvid_contest/shifts/{shift}' --runs runs/speedrun data.root=$(DATA)

settings: $(READY)  ## docs/settings.md from the settings' docstrings
	$(BIN)/python docs/make_settings.py

notebook: $(READY)  ## docs/python.ipynb with what it prints, and docs/python.md
	$(BIN)/python docs/make_notebook.py

bench: $(READY)  ## short benchmarks: ratios measured side by side
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e .[peers]
	$(BIN)/python benchmarks/step.py --rounds 3 --taps pool5
	$(BIN)/python benchmarks/step.py memory --rounds 1 --taps pool3
	$(BIN)/python benchmarks/convolutions.py --rounds 2
	$(BIN)/python benchmarks/penalties.py --rounds 3
	$(BIN)/python benchmarks/penalties.py --rounds 3 --network fcn_resnet101
	$(BIN)/python benchmarks/evaluation.py --rounds 10
	$(BIN)/python benchmarks/inversion.py --rounds 3 --evaluations 10
	$(BIN)/python benchmarks/filters.py --rounds 10
	$(BIN)/python benchmarks/data_path.py --rounds 5
	$(BIN)/python benchmarks/filters.py twin --count 5 --gegl 1 --rounds 2
	$(BIN)/python benchmarks/scaling.py --processes 1 2 --rounds 2

setup: $(READY)

$(READY): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; try make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
ifeq ($(TORCH),cpu)
	grep -vE '^(nvidia|cuda|triton)' requirements.txt > $(VENV)/cpu.txt
	UV_COMPILE_BYTECODE=1 $(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend cpu -r $(VENV)/cpu.txt
else
	UV_COMPILE_BYTECODE=1 $(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.txt
endif
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	touch $(READY)

clean:
	rm -rf $(VENV) runs data/scenes site
