# make run | make test | make smoke | make formats | make lab | make browser | make faults | make check | make audit | make coverage | make mutants | make soak | make cluster; options go into ARGS, e.g. make run ARGS="--notebooks 02,03 -p epochs=8"
PYTHON ?= python3.11
VENV ?= .venv
OUT ?= outputs/run
ARGS ?=
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -qq -c constraints.txt

.PHONY: mutants run test smoke formats lab browser faults check audit coverage soak cluster

run: $(VENV)/installed  ## notebooks 00-06 on the built-in sample, a report at the end
	$(BIN)/skelmm run --data sample --out $(OUT) --preset quick $(ARGS)

test: $(VENV)/installed  ## all tests; set SKELMM_SHARED to the folder with real data to run those too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(ARGS)

smoke: $(VENV)/installed  ## the whole pipeline at toy size, in a folder that is thrown away
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(BIN)/skelmm run --data sample --out "$$folder/run" --smoke $(ARGS)

formats: $(VENV)/installed  ## every reader of a file format on generated files, and on real data where SKELMM_SHARED is set
	$(BIN)/python -m benchmarks.formats $(ARGS)

lab: $(VENV)/installed-lab  ## the notebooks in JupyterLab
	mkdir -p $(VENV)/share/jupyter/lab/settings
	cp .ci/lab.json $(VENV)/share/jupyter/lab/settings/overrides.json
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/jupyter lab . --LabApp.default_url=/lab/tree/notebooks/README.md --ServerApp.ip=127.0.0.1 $(ARGS)

browser: $(VENV)/installed-browser  ## player and map in Chromium, JupyterLab and exported HTML; screenshots in outputs/browser
	OMP_NUM_THREADS=1 SKELMM_SCREENSHOTS=outputs/browser $(BIN)/python -m pytest -m browser -rs tests/test_browser*.py $(ARGS)

faults: $(VENV)/installed-lab  ## kills at random places, torn files, full disks, two writers, no network, the same answer twice; minutes
	OMP_NUM_THREADS=1 SKELMM_FAULTS=25 $(BIN)/python -m pytest -m faults -rs tests $(ARGS)

check: $(VENV)/installed  ## style and types: ruff, and mypy, strict on the package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check skelmm_core tests benchmarks
	$(BIN)/mypy

audit: $(VENV)/installed  ## do the pinned packages have known vulnerabilities? asks a public database, so it needs the network
	$(BIN)/python -m pip install --disable-pip-version-check -qq pip-audit
	$(BIN)/pip-audit --requirement constraints.txt --no-deps $(ARGS)

coverage: $(VENV)/installed  ## all tests, the share of the package's lines that they run, and the lines that they don't; below 95 % is an error
	rm -rf outputs/coverage && mkdir -p outputs/coverage
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(ARGS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --skip-covered

mutants: $(VENV)/installed  ## do the tests notice one changed operator, number or argument in modalities, losses and queues? half an hour
	$(BIN)/python -m pip install --disable-pip-version-check -qq mutmut==3.8.1
	OMP_NUM_THREADS=1 $(BIN)/mutmut run $(ARGS)
	$(BIN)/mutmut results

soak: $(VENV)/installed  ## an hour of training and 200 runs of a small notebook that trains, or SKELMM_SOAK seconds and SKELMM_SOAK_RUNS: memory, files and processes stay level
	OMP_NUM_THREADS=1 SKELMM_SOAK=$${SKELMM_SOAK:-3600} SKELMM_SOAK_RUNS=$${SKELMM_SOAK_RUNS:-200} $(BIN)/python -m pytest -m soak -s tests/test_soak.py $(ARGS)

cluster: $(VENV)/installed  ## sweeps by submitit, on a real Slurm of this machine where slurmctld, slurmd and munge are installed, and two processes by gloo
	OMP_NUM_THREADS=1 SKELMM_CLUSTER=1 $(BIN)/python -m pytest -rs tests/test_sweep.py tests/test_slurm.py tests/test_processes.py $(ARGS)

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "making $(VENV): about 2 minutes, most of them for downloading torch"
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) -e ".[test]"
	touch $@

$(VENV)/installed-lab: $(VENV)/installed
	$(INSTALL) -e ".[test,lab]"
	touch $@

$(VENV)/installed-browser: $(VENV)/installed
	$(INSTALL) -e ".[test,lab,browser]"
	touch $@
