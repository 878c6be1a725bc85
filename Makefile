# Each target works on a machine that has Python 3.11 or newer, and nothing else of ours.
PYTHON ?= python3
STUDY ?= studies/demo.yaml
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: demo test ui audit clean

demo: $(INSTALLED)  ## one whole study on the simulated market: tables and a report
	$(BIN)/seqpricing run studies/demo.yaml

ui: $(INSTALLED)  ## Dagster web UI on 127.0.0.1:3000 over STUDY
	$(BIN)/seqpricing ui $(STUDY)

test: $(INSTALLED)  ## lint, types, import rules, all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

audit: $(INSTALLED)  ## known vulnerabilities of what requirements.lock pins
	$(BIN)/pip install --quiet --disable-pip-version-check 'pip-audit>=2.10'
	$(BIN)/python deploy/audit.py

$(INSTALLED): pyproject.toml requirements.lock
	$(PYTHON) -m venv --clear .venv
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0 --constraint requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	touch $@

clean:  ## forget the virtual environment and every output
	rm -rf .venv outputs
