# `make demo` and `make test` do all the set-up that is needed. PYTHON, NUMPY and TORCH_INDEX_URL: see .ci/setup.
SHELL := /bin/bash
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help setup demo test check clean distclean

help:  ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 20

setup:  ## make .venv: dependencies, ROS 2, messages, this package
	@.ci/setup

demo: setup  ## replay the shipped recording through the real nodes; results in out/demo/
	@$(BIN)/h2w demo

test: check  ## every gate and every test
	@# Two processes for two cores. Many small tensors: more threads would only wait for one another.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

check: setup  ## the quick gates: ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

clean:  ## remove what tools left behind; .venv and out/ stay
	rm -rf build install log *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean  ## remove .venv as well
	rm -rf .venv
