# `make demo` and `make test` are the two to know; every target sets up .venv first where it is missing.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
JOBS ?= 2
# Photographs of ten kinds, which are not ours to ship (`ernest results photographs`).
PHOTOGRAPHS ?= ../shared/data/cifar10/cifar10_jpeg.zip
# Tests start hundreds of processes. In large pages, which the C library gives Python and torch alike and keeps, they fault a
# tenth as often; on virtual machines that fault slowly the tests take a fourth of the time. And what the first of them has
# compiled of Ernest's Python the others read, also where the environment forbids to write it, as images of containers do.
MALLOC := glibc.malloc
PAGES := PYTHONDONTWRITEBYTECODE= PYTHONMALLOC=malloc \
  GLIBC_TUNABLES=$(MALLOC).hugetlb=1:$(MALLOC).top_pad=67108864:$(MALLOC).trim_threshold=4294967296

.PHONY: help demo rl-demo test test-long test-portable test-portable-short mutants lint format bench results results-data docs clean

help:
	@echo "make demo    train on the embedded world, use the result and write build/demo/report.html"
	@echo "make rl-demo    after the demo: reinforcement learning on its videos, and build/rl/report.html"
	@echo "make test    all tests"
	@echo "make test-long, make test-portable, make mutants   what takes longer: kills by the dozen, the tests"
	@echo "             under other instruction sets, and lines broken one at a time"
	@echo "make lint    style, types and import directions (make format mends the style)"
	@echo "make bench   measure what the documentation claims"
	@echo "make results    try the claims of the three papers; make results-routing, results-time-marching,"
	@echo "             results-superconvergence, results-elastic, results-elastic-longer, results-ablations, results-sparse,"
	@echo "             results-precision, results-context, results-films, results-inference, results-photographs, results-rl,"
	@echo "             results-rl-together, results-rl-methods, results-rl-areas one of them"
	@echo "make results-data    train on real data sets, for hours; make results-data-photos one of them"
	@echo "make docs    build the documentation into site/"
	@echo "make clean   remove everything that these make, the environment included"

demo: $(READY)
	$(BIN)/ernest demo

rl-demo: $(READY)
	test -d build/demo/model || $(BIN)/ernest demo
	$(BIN)/ernest rl laws --from build/demo/model --out build/rl

# Every process of a test run has one thread: threads of one would wait for those of the others, for half of the time.
test: $(READY)
	$(PAGES) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0

test-long: $(READY)
	$(PAGES) $(BIN)/python -m pytest -m long

test-portable: $(READY)
	$(PAGES) $(BIN)/python -m tests.portable

test-portable-short: $(READY)
	$(PAGES) $(BIN)/python -m tests.portable --short

mutants: $(READY)
	$(PAGES) $(BIN)/python -m tests.mutants

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.page model
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.phasefield
	$(BIN)/python -m benchmarks.lcnet
	for study in deployment readers digits scenes; do $(BIN)/python -m benchmarks.lcnet.$$study || exit 1; done
	@# These two read MNIST's files, which are not ours to ship.
	-$(BIN)/python -m benchmarks.lcnet.mnist
	-$(BIN)/python -m benchmarks.lcnet.ablation
	test -d build/demo/findings || $(BIN)/ernest demo
	$(BIN)/python -m benchmarks.methods

results: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/ernest results --photographs $(PHOTOGRAPHS)

results-routing results-time-marching results-superconvergence results-elastic results-elastic-longer results-ablations \
  results-sparse results-precision results-context results-films results-inference results-photographs results-rl results-rl-together results-rl-methods \
  results-rl-areas: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/ernest results $(@:results-%=%) --photographs $(PHOTOGRAPHS)

results-data: results-data-digits results-data-commands results-data-photos results-data-voices results-data-emoji results-data-clips results-data-stories results-data-stories-dense results-data-seesaw \
  $(addprefix results-data-folder-,digits phrasings photographs sounds films)

results-data-%: $(READY)
	$(PAGES) $(BIN)/python -m benchmarks.results $*
	$(BIN)/python -m benchmarks.page results

docs: .venv/.docs-ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv build dist site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and alone: whichever build the package index offers, all that follows must fit it.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info[:2] == (3, 11) or sys.exit("Ernest needs Python 3.11; name one with make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[demo,dev,fast,files,quantise,serve,hf]'
	touch $@

.venv/.docs-ready: $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@
