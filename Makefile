# make demo      from a clone to a trained model, a table of AUCs and a picture
# make test      everything that this machine can run
# make portable  the numerical tests under the code paths of other processors
# make lowest    the tests under the lowest versions that pyproject.toml allows
# make newer     what needs no torch, under the Pythons of NEWER
# All make environments of their own first; nothing is installed outside them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLAIN := $(VENV)/.plain
STAMP := $(VENV)/.installed
ALIBI := $(or $(PYSCORE_ALIBI_PYTHON),.alibi/bin/python)
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# $(call timed,what it is,command): say what is done, and how long it took.
timed = @echo "$(1) ..."; begin=$$(date +%s); ( $(2) ) && echo "$(1): $$(( $$(date +%s) - begin )) s"

.PHONY: demo test loaded portable lowest newer setup lint docs cudasim gpu julia bench wheel clean fuzz

# $(call compile,python,processes): the bytecode of what a program may import. pip would make it on one core, and of the libraries'
# own tests, too, which takes two thirds of an installation. A file of another Python's syntax is left as it is.
compile = { $(1) -m compileall -qq -j $(2) -x /tests/ $$(dirname $(1))/../lib || true; }
# $(call install,python,arguments of pip)
install = $(1) -m pip install --quiet --no-compile $(2)

# The demo needs the package alone: no test tools. It compiles kernels on one core; the other compiles bytecode for later.
demo: $(PLAIN)
	$(call timed,demo: the kernels are compiled and two models trained,$(call compile,$(BIN)/python,1) & $(BIN)/pyscore demo; status=$$?; wait; exit $$status)

# The CUDA kernels run in a process of their own, under Numba's simulator; the rest in two, each on one core.
WORKERS ?= 2
test: setup cudasim
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not cuda" --numprocesses $(WORKERS) --dist loadfile

# The same while every core is kept busy by something else: no test depends on the machine's speed.
loaded: setup
	$(BIN)/python tests/loaded.py $(MAKE) test

# One processor stands for others: see tests/portable.py. ARGUMENTS="--only sse tests/test_portability.py" for a part of it.
portable: setup
	$(BIN)/python tests/portable.py $(ARGUMENTS)

# Without what needs Julia, the CUDA simulator, a browser or the pages' tools; they are tested above.
LEFT_OUT := --ignore=tests/julia --ignore=tests/bench --ignore=tests/kernels/test_cuda.py --ignore=tests/kernels/test_target.py \
  --ignore=tests/test_docs.py --ignore=tests/test_report.py --ignore=tests/test_packaging.py --ignore=tests/test_examples.py
SOME := OMP_NUM_THREADS=1
.SECONDARY:

lowest: .lowest/.installed
	.lowest/bin/python -m pip list --format=freeze
	$(SOME) NUMBA_CACHE_DIR=$(CURDIR)/.lowest/kernels .lowest/bin/python -m pytest -q -m "not cuda and not julia and not slow" -n $(WORKERS) --dist loadfile $(OLD) $(LEFT_OUT)

# Numba discards what another version of it left in a cache: this one has its own.
# Deprecations that a library's old version reports of another's new one are not ours.
OLD := -W default::DeprecationWarning -W default::FutureWarning -W default::PendingDeprecationWarning

.lowest/.installed: pyproject.toml constraints.txt tests/requirements.py
	test -x .lowest/bin/python || $(PYTHON) -m venv .lowest
	.lowest/bin/python -m pip install --quiet --constraint constraints.txt uv "setuptools>=77"
	.lowest/bin/python tests/requirements.py --lowest .lowest/bin/uv test > .lowest/requirements.txt
	$(call timed,installing the lowest versions,$(call install,.lowest/bin/python,--requirement .lowest/requirements.txt "$$(grep ^torch== constraints.txt)") && $(call compile,.lowest/bin/python,0))
	.lowest/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# torch has no wheel for these Pythons at hand: all else is installed, and what torch's absence leaves out is counted.
NEWER ?= 3.12 3.13
newer: $(NEWER:%=.newer-%/.installed)
	$(MAKE) --jobs $(WORKERS) --output-sync $(NEWER:%=newer-%)

newer-%: .newer-%/.installed
	$(SOME) PYSCORE_WITHOUT_TORCH=1 .newer-$*/bin/python -m pytest -q -m "not cuda and not julia and not slow" -n0 $(LEFT_OUT)

.newer-%/.installed: pyproject.toml constraints.txt tests/requirements.py
	test -x .newer-$*/bin/python || $$(sh tests/python_of.sh $*) -m venv .newer-$*
	.newer-$*/bin/python tests/requirements.py test > .newer-$*/requirements.txt
	$(call timed,installing for Python $*,$(call install,.newer-$*/bin/python,--constraint constraints.txt --requirement .newer-$*/requirements.txt "setuptools>=77") && $(call compile,.newer-$*/bin/python,0))
	.newer-$*/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

setup: $(STAMP)

$(STAMP): $(PLAIN)
	$(call timed,installing the test tools,$(call install,$(BIN)/python,--constraint constraints.txt --editable ".[test]") && $(call compile,$(BIN)/python,0))
	touch $@

# setuptools and torch before the package, so that its build and its resolution find them there.
$(PLAIN): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(call timed,installing pyscore and what it needs,$(call install,$(BIN)/python,--constraint constraints.txt "setuptools>=77" torch) && $(call install,$(BIN)/python,--constraint constraints.txt --no-build-isolation --editable .))
	touch $@

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

# On a machine with an NVIDIA GPU: the CUDA tests and the benchmark, into gpu-out/. PYSCORE_GPU_DRY=1 rehearses it anywhere.
# For a bare machine: `python -m pyscore.bench.gpu wheels .whl` here, then bench/gpu.sh there.
gpu: setup
	PYTHON=$(BIN)/python sh bench/gpu.sh

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

# Look for input that ends in an error of another kind than ours: coverage-guided, one process a target. What is found
# lies in .fuzz/TARGET/crash-…; put it into tests/fuzz/corpus/TARGET, where the normal suite replays it.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?= model table results report
fuzz: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[fuzz]"
	for target in $(FUZZ_TARGETS); do $(BIN)/python tests/fuzz/run.py $$target $(FUZZ_SECONDS) || exit 1; done

# The wheel, installed into an empty environment and used from another folder.
wheel: setup
	sh tests/wheel.sh $(PYTHON)

clean:
	rm -rf $(VENV) .alibi .lowest .newer-* .portable build dist site *.egg-info demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
