# make demo     install, train the quickstart through HTTP, draw its picture
# make test     install, run the tests
# make faults   every test of a fault, long ones too (some 10 minutes); the table goes into docs/RELIABILITY.md
# make gpu-check   what tests can show only on an NVIDIA GPU
# make lint     style and types
# make bench    speed of generation over HTTP against bare NumPy, as a table and bench/generation.json
# make bench-learning   seconds that small recipes take to 90%, and what the published way learns in the same time
# make nine     train the nine problems of small/ anew, one after another; report and table are in runs/nine
# make results  after make nine: train other seeds and precisions too; writes docs/NINE.md
# make full     train the paper's problems at its own sizes, hours of work, going on where it was; writes docs/RESULTS.md
# make clean    remove the environment and the caches; runs/ stays
#
# TORCH_INDEX_URL, unset by default, takes torch from another index (README says when one wants it).

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test faults gpu-check lint bench bench-learning nine results full clean

demo: .venv/installed
	$(BIN)/matstream train quickstart --overwrite

test: .venv/installed
	$(BIN)/pytest --numprocesses auto --dist worksteal

faults: .venv/installed
	$(BIN)/pytest tests/faults -m '' --numprocesses auto --dist worksteal --faults-table docs/faults.json

gpu-check: .venv/installed
	CUDA_VISIBLE_DEVICES=0 $(BIN)/pytest tests/trainer/learning/test_gpu.py

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: .venv/installed
	$(BIN)/python bench/generation.py --out bench/generation.json

bench-learning: .venv/installed
	$(BIN)/python bench/learning.py --out bench/learning.json

nine: .venv/installed
	$(BIN)/python -m bench.nine_problems

results: .venv/installed
	$(BIN)/python -m bench.nine_problems --more

full: .venv/installed
	$(BIN)/python -m bench.full_sizes

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("matstream needs Python 3.11 or later: make PYTHON=...")'
	$(PYTHON) -m venv .venv
ifdef TORCH_INDEX_URL
	$(BIN)/pip install --quiet --constraint constraints.txt --index-url $(TORCH_INDEX_URL) torch
endif
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[generator,trainer,dev]'
	touch $@
