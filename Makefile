# Needs make and Python 3.11 or newer, nothing else. Everything is installed into .venv.
#   make test ARGS="-k merge -x"      pass arguments on to pytest
#   make soak MINUTES=60              random faults for so long, all stores together; TEST_SEED=N repeats
#   make venv PYTHON=python3.12       choose the interpreter (run `make clean` to change it later)
#   make venv LOCKED=1                exactly what requirements/lock.txt pins, checked by its hashes

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv test soak bench lint audit lock format demo clean

PYTHON ?= python3
ARGS ?=
MINUTES ?= 10
VENV := .venv
BIN := $(VENV)/bin
# Its age tells whether what pyproject.toml asks for is installed.
STAMP := $(VENV)/.installed
LOCK := requirements/lock.txt

help: ## list the targets
	@sed -n 's/^\([a-z][a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
	  while IFS='|' read -r target text; do printf '%-15s %s\n' "$$target" "$$text"; done

venv: $(STAMP) ## install the package, its extras and the tools into .venv

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: '$(PYTHON)' is not Python 3.11 or newer ($$($(PYTHON) --version 2>&1))." >&2; \
	  echo "Name one that is: make venv PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "error: '$(PYTHON) -m venv' failed; its reason stands above." >&2; \
	  echo "If ensurepip is missing, install it (Debian, Ubuntu: apt install python3-venv)." >&2; \
	  exit 1; }
	@echo "Installing into $(VENV) (a minute or so the first time)"
ifdef LOCKED
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
else
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,test,lint]'
endif
	@touch $@

# A missing Redis server is a failure here, never a skip: see tests/fix_redis.py.
test: $(STAMP) ## run all tests, on every Redis and Valkey server found
	REQUIRE_REDIS=1 $(BIN)/python -m pytest -n auto --dist loadgroup $(ARGS)

soak: $(STAMP) ## run the long tests; MINUTES=60: random faults for so long
	REQUIRE_REDIS=1 SOAK_MINUTES=$(MINUTES) $(BIN)/python -m pytest -m soak -s $(ARGS)

bench: $(STAMP) ## measure against the floor; prints ratios
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m benchmarks.run $(ARGS)
	$(BIN)/python benchmarks/worker_merge.py

lint: $(STAMP) ## check style, format and types, once a day also the dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/python .ci/audit.py --daily

audit: $(STAMP) ## ask a vulnerability database about the pinned dependencies
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit || true
	@$(BIN)/python .ci/audit.py

# --universal: for every platform and Python that pyproject.toml allows, in one file.
lock: $(STAMP) ## pin all dependencies anew, at their newest versions
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --quiet \
	  --custom-compile-command 'make lock' -o $(LOCK)

format: $(STAMP) ## put the code into the project's format, mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

demo: $(STAMP) ## see it work: fill a small lake, merge it, query it
	$(BIN)/gigapi-metadata demo

clean: ## remove .venv and everything else that was generated
	rm -rf $(VENV) demo-lake build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage .coverage.*
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
