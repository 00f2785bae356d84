# Two commands for a fresh machine with Python >= 3.11 and make: `make run`, `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run demo test lint types imports unit audit install install-dev lock bundle clean

run: install
	$(BIN)/vbq-node run

demo: install
	$(BIN)/vbq-node demo

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed; call make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

test: lint types imports unit

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install-dev
	$(BIN)/mypy --num-workers 2

imports: install-dev
	$(BIN)/lint-imports

# The tests start many processes; each would compile again where Python is told to write no bytecode, and each worker
# of pytest would rewrite the assertions of every file.
unit: export PYTHONDONTWRITEBYTECODE =
# The tests' folders lie in memory where it has room for them: thousands of databases and files are made durable, which
# is asserted by the order of system calls, not by the disk below them.
unit: install-dev
	$(BIN)/python -m compileall -q -j 0 node analytics tests
	PYTEST_DEBUG_TEMPROOT="$$(tests/temporary_root)" $(BIN)/python -m pytest --numprocesses auto --dist worksteal

# Known holes in what the node runs on; says so, and does not fail, where no database of them can be reached.
audit: $(VENV)/audit/.installed
	.ci/audit $(VENV)/audit/bin/pip-audit

$(VENV)/audit/.installed: requirements-audit.lock | $(BIN)/python
	$(BIN)/python -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-audit.lock
	touch $@

# Needs uv; writes name==version and hashes, no addresses.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --group build --no-header -o requirements.lock pyproject.toml
	uv pip compile --universal --python-version 3.11 --generate-hashes --group build --group dev --no-header -c requirements.lock -o requirements-dev.lock pyproject.toml
	uv pip compile --universal --python-version 3.11 --generate-hashes --group audit --no-header -o requirements-audit.lock

# One archive that installs without internet, on machines like this one (processor, version of Python): systemd/install.sh.
bundle: install
	rm -rf dist/bundle
	mkdir -p dist/bundle/wheels
	$(BIN)/python -m pip download --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock -d dist/bundle/wheels
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist/bundle/wheels .
	$(BIN)/python -m node.operate.components requirements.lock dist/bundle
	$(BIN)/vbq-node man dist/bundle/man
	cp -r requirements.lock LICENSE conf systemd systemd/install.sh dist/bundle/
	cd dist/bundle && find . -type f ! -name SHA256SUMS -print0 | LC_ALL=C sort -z | xargs -0 sha256sum > SHA256SUMS
	tar -C dist -cf dist/vbq-node-bundle.tar bundle
	@echo "dist/vbq-node-bundle.tar: unpack it on the other machine, then ./bundle/install.sh"

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
