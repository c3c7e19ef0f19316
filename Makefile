# `make help` lists the targets. A target that needs Python creates its environment first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast test-parity test-training lint types imports leaderboard check regression-update \
        test-minimum test-bare coverage test-slurm browser test-browser bench bench-gpu bench-data bench-shared bench-boards \
        pretrain-tiny forecasts docs wheel clean

FAST := -n 2 --dist worksteal -q -m "not slow and not parity and not timing and not training"

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The machine needs only Python >= 3.11 and make. Because of the stamp, a second call installs nothing.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev,lite,geo,official-text]'
	@touch $(STAMP)

install: $(STAMP) ## create .venv and install the project with its development tools

demo: $(STAMP) ## train S4ECA on the embedded tiny split, test it, write the smoke board
	$(BIN)/rrsis-bench fit --method s4eca --overwrite
	$(BIN)/rrsis-bench leaderboard --results runs --board smoke

test: lint types imports $(STAMP) ## run everything that CI runs
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not parity and not timing and not training"
	$(BIN)/python -m pytest -m timing
	$(BIN)/rrsis-bench results check
	$(BIN)/rrsis-bench leaderboard --check

test-fast: $(STAMP) ## ruff and the fast tests, under two minutes
	$(BIN)/ruff check .
	$(BIN)/python -m pytest $(FAST)

test-minimum: ## run the fast tests with the lowest versions that pyproject.toml allows (makes .venv-minimum)
	$(PYTHON) -m venv --clear .venv-minimum
	.venv-minimum/bin/python -m pip install --quiet uv
	.venv-minimum/bin/uv pip install --quiet --python .venv-minimum/bin/python --resolution lowest-direct \
		--editable '.[dev,lite,geo,official-text]'
	.venv-minimum/bin/python -m pytest $(FAST)

test-bare: ## run the fast tests without the extras `lite` and `geo` (makes .venv-bare)
	$(PYTHON) -m venv --clear .venv-bare
	.venv-bare/bin/python -m pip install --quiet --editable '.[dev]'
	.venv-bare/bin/python -m pytest $(FAST)

coverage: $(STAMP) ## run the fast tests, and report the lines of rrsis_bench and baselines that they reach
	$(BIN)/python -m pytest $(FAST) --cov --cov-report=term --cov-report=xml --cov-report=html

test-parity: $(STAMP) ## compare the published sizes with the full-size golden fixtures (needs them on disk)
	$(BIN)/python -m pytest -m parity

test-training: $(STAMP) ## train every method for minutes, and compare the scores on the tiny split with the golden files
	$(BIN)/python -m pytest -n 2 --dist worksteal -m training

test-slurm: $(STAMP) ## test the slurm launcher with a real single-node SLURM (installs SLURM; needs root on Debian)
	sh tests/slurm/run.sh $(BIN)/python

browser: ## find a Chromium, or install Debian's
	command -v "$${RRSIS_CHROMIUM:-chromium}" || command -v chromium-browser || command -v google-chrome || { \
	  apt-get update -qq -o Acquire::http::Timeout=20 && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; }

test-browser: browser $(STAMP) ## test the web page in headless Chromium
	$(BIN)/python -m pip install --quiet 'playwright>=1.49'
	$(BIN)/python -m pytest -q tests/unit/test_page_browser.py

lint: $(STAMP) ## check style and formatting (ruff), spelling (codespell), and tracked files for secrets and size
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/python -m tools.tracked

types: $(STAMP) ## check types of rrsis_bench, baselines and tools (mypy --strict)
	$(BIN)/mypy

imports: $(STAMP) ## check which package may import which (import-linter)
	$(BIN)/lint-imports

leaderboard: $(STAMP) ## make the boards again from the committed result files
	$(BIN)/rrsis-bench leaderboard

check: $(STAMP) ## check that committed results are valid and the boards up to date
	$(BIN)/rrsis-bench results check
	$(BIN)/rrsis-bench leaderboard --check

regression-update: $(STAMP) ## measure the tiny regression's golden files anew (read the difference before you commit it)
	$(BIN)/python tests/regression/update.py

bench: $(STAMP) ## measure the time of the published networks' evaluation, from file to integers, and of training steps (hours)
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/train.py

bench-gpu: $(STAMP) ## measure what every published variant costs on this machine's GPU, into results/efficiency (hours; resumable)
	$(BIN)/python benchmarks/gpu.py

bench-data: $(STAMP) ## measure the time of the manifest and the loaders
	$(BIN)/python benchmarks/data.py
	$(BIN)/python benchmarks/tables.py

bench-shared: $(STAMP) ## measure evaluation with each image encoded once (minutes; the second table needs houston)
	$(BIN)/python benchmarks/shared.py

bench-boards: $(STAMP) ## measure the time of the statistics, and of boards with ten thousand results
	$(BIN)/python benchmarks/boards.py
	$(BIN)/python benchmarks/leaderboard.py 10000

pretrain-tiny: $(STAMP) ## pre-train the encoders of the tiny variants again
	$(BIN)/python -m tools.pretrain_tiny
	$(BIN)/python -m tools.pretrain_pair

forecasts: $(STAMP) ## compute the forecasts that READMEs and sweeps lack, and write them there
	$(BIN)/python -m tools.forecasts

# The site has an environment of its own: it reads the code without importing it, and so needs neither torch nor CUDA.
docs: ## build the site into site/ (makes .venv-docs); a broken link or reference is an error
	test -x .venv-docs/bin/mkdocs || { $(PYTHON) -m venv .venv-docs && \
		.venv-docs/bin/python -m pip install --quiet 'mkdocs-material>=9.5' 'mkdocstrings[python]>=0.26' ruff; }
	.venv-docs/bin/mkdocs build --strict

wheel: $(STAMP) ## build the wheel into dist/
	$(BIN)/python -m build --wheel

clean: ## remove caches and build outputs (not .venv, not runs)
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache \
		.coverage .coverage.* coverage.xml htmlcov
