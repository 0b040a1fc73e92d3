# Each target sets up what it needs: python3 (3.11 or newer), pip and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 5000
# Hundreds of processes import the platform in a test; each would compile it again where the environment forbids to keep it.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-part-1 test-part-2 test-part-3 test-part-4 check audit bench docs ui cluster cluster-down clean

demo: $(VENV)/.installed ## train the demo model, score it, draw samples
	$(BIN)/ndm train digits-ndm

test: check ## all checks and all tests, in four parts, three at a time: more would only slow each other down on two cores
	$(MAKE) --no-print-directory -j3 --output-sync=target test-part-1 test-part-2 test-part-3 test-part-4

test-part-1: FOLDERS := integration
test-part-2: FOLDERS := servers golden contract exact unit docs
test-part-3: FOLDERS := cluster recovery
test-part-4: FOLDERS := deploy security
test-part-1 test-part-2 test-part-3 test-part-4: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -rfEs --durations=12 $(FOLDERS:%=tests/%)

check: $(VENV)/.installed-dev ## linter, formatter, types, import rules, versions and licences
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python tests/audit.py

audit: ## known vulnerabilities of the tested versions, asked of a service on the internet
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	build/audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

bench: $(VENV)/.installed-bench ## every benchmark; tables go to benchmarks/results
	set -e; for file in benchmarks/*.py; do $(BIN)/python $$file; done

docs: $(VENV)/.installed-dev ## the documentation as a site, in build/site; nothing is fetched
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

ui: $(VENV)/.installed ## MLflow on the runs, on this machine only
	$(BIN)/ndm ui --port $(PORT)

cluster: $(VENV)/.installed ## Ray, MLflow, PostgreSQL and an S3 store on this machine; OPTIONS="--nodes 2 --install"
	$(BIN)/python cluster/local up $(OPTIONS)

cluster-down: $(VENV)/.installed ## end it and keep its data; OPTIONS=--delete removes them
	$(BIN)/python cluster/local down $(OPTIONS)

clean: ## the environment; runs/ is kept
	rm -rf $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; name one with make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@
