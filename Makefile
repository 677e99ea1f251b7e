# Everything works from an empty checkout with python3 (3.11 or newer), make and a C++ compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
NATIVE := $(wildcard src/chainrule/_native/*.cpp src/chainrule/_native/*.hpp)
# An editable install looks once for what is a package, so that a new one needs another.
PACKAGES := $(wildcard src/chainrule/*/__init__.py src/chainrule/*/*/__init__.py)

.PHONY: demo test environments nightly clang sanitize fuzz lint bench docs web clean

demo: $(VENV)/.demo
	mkdir -p demo
	$(BIN)/chainrule train examples/digits.csv --target label --test 0.2 --seed 0 \
		-o demo/digits.safetensors --report demo/report.html
	$(BIN)/chainrule explain demo/digits.safetensors examples/digits.csv --row 0 -o demo/explanation.html
	@echo "The model:       demo/digits.safetensors"
	@echo "The report:      demo/report.html, which opens demo/report-explanation.html"
	@echo "The explanation: demo/explanation.html"

# The kernels' tests run once more for each instruction set but the best, which all tests have run with.
SETS = $$($(BIN)/python -c 'from chainrule._native import _kernels; print(*_kernels.instruction_sets()[:-1])')
KERNELS := tests/native tests/output tests/test_faces_accuracy.py tests/training/test_engine.py tests/network/test_inference.py
# Files of tests side by side, each process with a PyTorch and a JAX of its own.
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile
test: $(VENV)/.test
	$(BIN)/python -m pytest -q $(SIDE_BY_SIDE) $(TESTS)
	for set in $(SETS); do echo "With the instruction set $$set:"; CHAINRULE_INSTRUCTION_SET=$$set \
		$(BIN)/python -m pytest -q -m "not slow" $(SIDE_BY_SIDE) $(TESTS) $(KERNELS) || exit 1; done

# The wheel, with NumPy alone and with each extra alone, newest and lowest versions, in every Python of this machine.
environments: $(VENV)/.environments
	$(BIN)/python tests/environments.py

# Only what takes long or gigabytes: a million random rows, more than 2^31 elements, PyTorch and JAX alone, Clang.
nightly: $(VENV)/.test $(VENV)/.environments
	$(BIN)/python -m pytest -q -m slow
	$(BIN)/python tests/environments.py --one-python torch jax
	$(MAKE) clang

# The native part built in another way, in an environment of its own that borrows the other packages; then the tests.
# By Clang, where a warning is an error:
CLANG := clang++-14
clang: build/clang/.built
	build/clang/bin/python -m pytest -q -m "not slow" $(SIDE_BY_SIDE) tests

# With AddressSanitizer and UndefinedBehaviorSanitizer. Leaks are not looked for: Python and its packages keep memory to
# their end.
SANITIZED := build/sanitize/bin/python
SANITIZERS = LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1
sanitize: build/sanitize/.built
	$(SANITIZERS) $(SANITIZED) -m pytest -q -m "not slow" tests

FUZZ_SECONDS ?= 600
fuzz: build/sanitize/.built
	$(SANITIZERS) $(SANITIZED) tests/fuzz.py --seconds $(FUZZ_SECONDS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.accuracy
	$(BIN)/python -m benchmarks.output_layer
	$(BIN)/python -m benchmarks.small_calls
	$(BIN)/python -m benchmarks.torch_face
	$(BIN)/python -m benchmarks.jax_face
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.tables
	$(BIN)/python -m benchmarks.per_example
	$(BIN)/python -m benchmarks.label_errors

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

# The pages' scripts, which are committed: only a change in web/ needs this, and Node 20 or newer.
web: web/node_modules/.package-lock.json $(VENV)/.demo
	$(BIN)/python web/tests/fixture.py
	cd web && npx tsc && npx vitest run && npm run build

web/node_modules/.package-lock.json: web/package-lock.json
	cd web && npm ci

# One environment, grown by what a command needs; the package is editable and built again when its native part changes.
$(VENV)/pyvenv.cfg:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Chainrule needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q --upgrade 'pip>=25.1'

$(VENV)/.demo: $(VENV)/pyvenv.cfg pyproject.toml CMakeLists.txt $(NATIVE) $(PACKAGES)
	@echo "Building Chainrule in $(VENV): a few minutes, the first time."
	$(PIP) install -q -e '.[cli]'
	touch $@

# PyTorch in its pinned version first, so that the extras do not bring another. One build for both: it takes minutes.
$(VENV)/.test: $(VENV)/pyvenv.cfg pyproject.toml CMakeLists.txt $(NATIVE) $(PACKAGES)
	@echo "Installing what the tests need and building Chainrule in $(VENV): some minutes, the first time."
	$(PIP) install -q --group test
	$(PIP) install -q -e '.[all]'
	touch $@ $(VENV)/.demo

build/clang/.built: export CXX = $(CLANG)
build/clang/.built: BUILT = -C cmake.define.CMAKE_COMPILE_WARNING_AS_ERROR=ON
build/sanitize/.built: BUILT = -C cmake.define.CHAINRULE_SANITIZE=ON
build/clang/.built build/sanitize/.built: $(VENV)/.test
	$(PYTHON) -m venv --without-pip $(@D)
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> $$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/borrowed.pth
	$(PIP) --python $(@D)/bin/python install -q --no-deps $(BUILT) -C build-dir=$(@D)/cmake -e .
	touch $@

$(VENV)/.environments: $(VENV)/pyvenv.cfg pyproject.toml
	$(PIP) install -q --group environments
	touch $@

$(VENV)/.bench: $(VENV)/.demo
	$(PIP) install -q --group bench
	touch $@

$(VENV)/.lint: $(VENV)/pyvenv.cfg pyproject.toml
	$(PIP) install -q --group lint 'numpy>=2.0'
	touch $@

$(VENV)/.docs: $(VENV)/.demo
	$(PIP) install -q --group docs
	touch $@

clean:
	rm -rf $(VENV) build demo site
