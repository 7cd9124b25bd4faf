# `make sweep` and `make test` are all a newcomer needs; both set up what they use.
.PHONY: setup sweep test lint evidence
RUNS ?= runs

setup:
	@clusters/setup.sh .venv

# The main job: the sparse-head sweep on real digits, then its confirmation on fresh seeds.
sweep: setup
	.venv/bin/ablate sweep search_spaces/sparsehead.yaml --runs $(RUNS)

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

test: lint
	@tests/setup.sh
	.venv/bin/pytest -n 2

# Longer checks, each writing evidence/<name>.{md,json}. One of them: make evidence NAME=crash
evidence: setup
	.venv/bin/python -m tests.evidence $(NAME)
