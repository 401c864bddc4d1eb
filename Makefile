# make demo    from a clone to a trained model, a table of AUCs and a picture
# make test    everything that this machine can run
# Both make .venv first; nothing is installed outside it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ALIBI := $(or $(PYSCORE_ALIBI_PYTHON),.alibi/bin/python)
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test loaded setup lint docs cudasim julia bench wheel clean

demo: setup
	$(BIN)/pyscore demo

# The CUDA kernels run in a process of their own, under Numba's simulator; the rest in two, each on one core.
WORKERS ?= 2
test: setup cudasim
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not cuda" --numprocesses $(WORKERS) --dist loadfile

# The same while every core is kept busy by something else: no test depends on the machine's speed.
loaded: setup
	$(BIN)/python tests/loaded.py $(MAKE) test

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt "setuptools>=77" torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $(STAMP)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The pages, in site/; a broken link, or a docstring that does not parse, is an error. tests/test_docs.py runs their code.
docs: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

cudasim: setup
	NUMBA_ENABLE_CUDASIM=1 $(BIN)/python -m pytest -q -m cuda tests/kernels/test_cuda.py

julia: setup
	PYSCORE_REQUIRE_JULIA=1 $(BIN)/python -m pytest -m julia

# Every suite, what `pyscore verify` says, and the committed tables of the experiment, in one page. alibi-detect asks for
# NumPy below 2 and gets an environment of its own, once; PYSCORE_ALIBI_PYTHON names another.
bench: setup $(ALIBI)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	mkdir -p results/experiment
	cp docs/results/summary.json docs/results/*.csv docs/results/*.svg results/experiment/
	$(BIN)/pyscore verify --json results/verify.json > results/verify.txt
	PYSCORE_ALIBI_PYTHON=$(ALIBI) $(BIN)/pyscore bench all --json results/bench.json
	$(BIN)/pyscore report results -o results/report.html
	if command -v julia > /dev/null; then $(BIN)/python bench/bench_julia.py --transport executable; fi

.alibi/bin/python:
	$(PYTHON) -m venv .alibi
	.alibi/bin/python -m pip install --quiet "alibi-detect==0.13.0" "torch==2.13.0"

# The wheel, installed into an empty environment and used from another folder.
wheel: setup
	sh tests/wheel.sh $(PYTHON)

clean:
	rm -rf $(VENV) .alibi build dist site *.egg-info demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
