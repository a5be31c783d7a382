# make demo   set up and run the main job: calibrate tiny-omni, inspect the profile, prune a recording
# make quick  pure functions, selectors, profiles, metrics, readers, options: 90 seconds on two idle cores
# make test   set up and run all tests
# make check  what CI runs: tests, lint, format, types
# make floor  a part of the exactness suite on the oldest transformers
# make versions   the exactness suite on the oldest transformers, 5.20, the newest, and what pip resolves
# make vllm   the plug-in's tests on a real vLLM, on a CPU, in an environment of its own: 3.7 GB
# make exactness  measure docs/exactness.json anew, and write docs/families.md from it
# make small-omni  train small-omni's adapter; stop it and start it again at any time. Needs the
#                  Debian packages flite, espeak-ng and wordnet-base
# make fuzz   damage TRIES files of each kind and read them; those at fault are left in .work/fuzz
# make gpu    tests and benchmarks that need a GPU, in ten minutes, with the torch of PYTHON; run it
#             again to go on. Without a network: make gpu-wheels WHEELS=DIR somewhere else, then
#             make gpu WHEELS=DIR there; benchmarks/README.md has both
# make coverage  branch coverage of headrouter_core by its own tests: at least 95 %
#
# Where torch comes from: by default from the index that pip is configured with. For a CPU or a
# certain CUDA build give the index URL that the PyTorch site names for it, or a wheel:
#   make demo TORCH="torch --index-url <URL>"      make demo TORCH=path/to/torch.whl

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch
BIN := $(VENV)/bin
DEMO := .work/demo

.PHONY: demo small-omni test check floor coverage versions vllm exactness fuzz gpu gpu-wheels \
	lint setup clean

demo: $(VENV)/.ready
	mkdir -p $(DEMO)
	$(BIN)/headrouter calibrate --output $(DEMO)/tiny-omni.safetensors --force
	$(BIN)/headrouter inspect $(DEMO)/tiny-omni.safetensors
	$(BIN)/headrouter prune tiny_omni/demo.flac --ratio 0.6 --profile $(DEMO)/tiny-omni.safetensors

# processes with one thread each: threads of several processes only fight
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4

test: $(VENV)/.ready
	$(PYTEST) --dist loadfile --no-loadscope-reorder

# left out: the engine on models (exactness, caches, masks, devices, threads), front ends with their
# processors, calibration, whole commands, the wheel, benchmarks, integrations, documentation, writing
QUICK := $(addprefix tests/headrouter_core/,test_scoring.py test_counts.py test_routing.py selectors \
		profile basics/test_precision.py \
		engine/test_finite.py engine/test_trace.py pruning/test_misuse.py) \
	$(addprefix tests/calibrate/,test_cli.py estimation/test_fitting.py estimation/test_samples.py \
		models/test_frontend.py models/test_hub.py models/test_models.py sound/test_loudness.py \
		sound/test_timeline.py sound/test_reading.py evaluation) \
	--ignore tests/calibrate/evaluation/command \
	--ignore tests/calibrate/evaluation/test_trial.py \
	--ignore tests/calibrate/evaluation/test_report.py \
	--ignore tests/calibrate/evaluation/lmms_eval/test_answering.py \
	tests/tiny_omni/test_scenes.py tests/test_locks.py

quick: $(VENV)/.ready
	$(PYTEST) -q --dist worksteal $(QUICK)

check: test floor lint

coverage: $(VENV)/.ready
	$(BIN)/coverage run -m pytest tests/headrouter_core
	$(BIN)/coverage report --skip-covered --show-missing --fail-under=95

# libraries of the oldest transformers, to lie before the others on the path
FLOOR := .work/floor

floor: $(FLOOR)/.ready
	PYTHONPATH=$(FLOOR) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q \
		--numprocesses auto --maxprocesses 4 --dist worksteal \
		tests/headrouter_core/engine/exact/test_exactness_matrix.py -k 'prompts_ratios or two_turns'

$(FLOOR)/.ready: $(VENV)/.ready requirements-floor.lock
	rm -rf $(FLOOR)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --target $(FLOOR) \
		--requirement requirements-floor.lock
	touch $@

versions:
	PYTHON='$(PYTHON)' TORCH='$(TORCH)' .ci/versions

vllm:
	PYTHON='$(PYTHON)' TORCH='$(TORCH)' .ci/vllm

exactness: $(VENV)/.ready
	$(BIN)/python -m pytest -q --record-exactness docs/exactness.json \
		tests/headrouter_core/engine/exact/test_exactness_matrix.py \
		tests/headrouter_core/engine/exact/test_pruning_flash.py
	$(BIN)/python -m docs.make_families

small-omni: $(VENV)/.ready
	$(BIN)/python -m small_omni.speech
	$(BIN)/python -m small_omni.train

TRIES ?= 20000
SEED ?= 0

fuzz: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --tries $(TRIES) --seed $(SEED)

# what is measured is not measured again as long as RESULTS holds its journal; ARGUMENTS are those
# of python -m benchmarks.gpu, such as --shapes
RESULTS ?= .work/gpu
MINUTES ?= 9
GPU_PYTHON := .work/gpu-python

gpu:
	$(PYTHON) -m benchmarks.gpu.install $(GPU_PYTHON) $(WHEELS)
	$(GPU_PYTHON)/bin/python -m benchmarks.gpu --minutes $(MINUTES) --output $(RESULTS) $(ARGUMENTS)

# what a machine with torch, transformers and the usual scientific packages lacks
WHEELS_FOR ?= 3.12
LACKING := av cffi jiwer pycparser rapidfuzz soundfile soxr

gpu-wheels:
	$(PYTHON) -m pip download --quiet --no-deps --only-binary=:all: --dest $(or $(WHEELS),wheels) \
		--python-version $(WHEELS_FOR) --implementation cp \
		$(addprefix --platform manylinux,_2_28_x86_64 _2_27_x86_64 _2_17_x86_64 2014_x86_64) \
		--constraint constraints.txt $(LACKING)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "headrouter needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(TORCH)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
		--no-build-isolation --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .work/demo
