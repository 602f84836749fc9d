# The commands of a working day. Each one sets up what it needs first; none edits the tree, but `format`.
#
#   make demo       the main job on a TAP interface in a network namespace of its own
#   make test       every test, the namespace ones too, against the installed package
#   make test-user  a minute of them with no more than an ordinary user has
#   make lint       ruff, mypy strict, clang-format, gcc and clang with warnings as errors
#   make sanitize   the unprivileged tests with the C under AddressSanitizer and UBSan
#   make fuzz       coverage-guided fuzzing of the C, FUZZ_SECONDS of each harness (600)
#   make fuzz-coverage  which lines of the C the fuzzers' inputs reach
#   make root       set-up and tests in a root of the other Debian release (12 or 13), as root
#   make wheel      the source distribution and the wheel of PYTHON, checked, in dist/
#   make pythons    the wheels of every interpreter found here (3.11 or later), and tests against each
#   make bare       a wheel of dist/ where there is no compiler and no library, as root
#   make parity     CPython's own tests of its library on the stack, beside the kernel (ARGS="-v MODULE ...")
#   make test-all   the tests with their long forms
#   make bench      barewire beside the kernel's sockets (ARGS="--quick --json out.json")
#   make format     rewrites Python and C in the project's style
#   make clean      removes what the others made
#
# PYTHON chooses the interpreter the virtual environment is made with (3.11 or later, with headers).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SANITIZED := .venv-sanitize
TESTS ?= tests
PYTEST_ARGS ?=
ARGS ?=

PACKAGES := sockets_api stack l2 nic_drivers tools fuzz
# Folders stand here too, so that a deleted file is noticed (as fuzz/., for fuzz is a command).
SOURCES := pyproject.toml setup.py README.md $(shell find $(PACKAGES:%=%/.) \( -name __pycache__ -prune \) -o \
	\( -type d -o -name '*.py' -o -name '*.[ch]' -o -name py.typed \) -print)
C_SOURCES := $(shell find $(PACKAGES) -name '*.[ch]')
# What is compiled: the engine is one translation unit that includes its other files.
C_UNITS := $(filter-out %.bpf.c,$(wildcard fuzz/*/*_fuzz.c stack/engine.c stack/drive/*.c nic_drivers/*.c nic_drivers/*/*.c sockets_api/*.c sockets_api/*/*.c tools/*/*.c))
C_FLAGS := -std=gnu11 -O2 -Wall -Wextra -Wno-unused-parameter -Werror -fsyntax-only -pthread -I. \
	-I$(shell "$(PYTHON)" -c "import sysconfig; print(sysconfig.get_path('include'))") \
	$(shell pkg-config --cflags-only-I libdpdk 2>/dev/null)

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: setup demo test test-all test-user parity lint lint-python lint-types lint-format lint-c sanitize fuzz fuzz-coverage root wheel pythons bare bench format clean
.DEFAULT_GOAL := setup

setup: $(VENV)/installed

# ---- the environment: system packages, interpreter, dependencies, barewire; a stamp file each ----

$(VENV)/python: tools/setup/system.sh
	sh tools/setup/system.sh "$(PYTHON)" build demo drivers
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	touch $@

$(VENV)/dependencies: $(VENV)/python pyproject.toml
	$(BIN)/python tools/setup/requirements.py dev | $(BIN)/pip install --quiet --requirement /dev/stdin
	touch $@

$(VENV)/installed: $(VENV)/dependencies $(SOURCES)
	rm -rf build barewire.egg-info
	$(BIN)/pip install --quiet --no-build-isolation --no-deps --force-reinstall .
	touch $@

$(VENV)/test: tools/setup/system.sh
	sh tools/setup/system.sh "$(PYTHON)" test
	mkdir -p $(VENV) && touch $@

$(VENV)/servers: tools/setup/system.sh
	sh tools/setup/system.sh "$(PYTHON)" servers
	mkdir -p $(VENV) && touch $@

$(VENV)/lint: tools/setup/system.sh
	sh tools/setup/system.sh "$(PYTHON)" lint
	mkdir -p $(VENV) && touch $@

$(VENV)/fuzz: tools/setup/system.sh
	sh tools/setup/system.sh "$(PYTHON)" lint fuzz drivers
	mkdir -p $(VENV) && touch $@

$(VENV)/fuzz-coverage: tools/setup/system.sh
	sh tools/setup/system.sh "$(PYTHON)" lint fuzz fuzz-coverage drivers
	mkdir -p $(VENV) && touch $@

$(VENV)/root: tools/setup/system.sh
	sh tools/setup/system.sh "$(PYTHON)" root
	mkdir -p $(VENV) && touch $@

$(SANITIZED)/dependencies: $(VENV)/python pyproject.toml
	test -x $(SANITIZED)/bin/python || "$(PYTHON)" -m venv $(SANITIZED)
	$(BIN)/python tools/setup/requirements.py dev | $(SANITIZED)/bin/pip install --quiet --requirement /dev/stdin
	touch $@

$(SANITIZED)/installed: $(SANITIZED)/dependencies $(SOURCES)
	rm -rf build barewire.egg-info
	BAREWIRE_SANITIZE=1 $(SANITIZED)/bin/pip install --quiet --no-build-isolation --no-deps --force-reinstall .
	rm -rf build
	touch $@

# ---- the commands ----------------------------------------------------------------------------------

demo: $(VENV)/installed
	@exec $(BIN)/barewire demo $(ARGS)

bench: $(VENV)/installed $(VENV)/test
	@exec $(BIN)/barewire bench $(ARGS)

# In a user namespace as an ordinary user; network namespaces the tests make themselves.
test: $(VENV)/installed $(VENV)/test
	$(BIN)/python -P -m barewire.tools.netns $(BIN)/pytest $(TESTS) $(PYTEST_ARGS)

test-all: $(VENV)/servers
	$(MAKE) test PYTEST_ARGS="--slow $(PYTEST_ARGS)"

parity: $(VENV)/installed $(VENV)/test
	$(BIN)/python -P -m barewire.tools.parity docs/parity.md $(ARGS)

# Some of each, with no more than an ordinary user has: as root too, capabilities are those of a user namespace.
USER_TESTS := tests/test_session.py tests/nic_drivers/test_tap.py tests/nic_drivers/test_packet.py \
	tests/nic_drivers/test_guard.py tests/netns/test_udp.py tests/tools/test_demo.py tests/tools/test_netns.py \
	tests/tools/test_setup.py tests/sockets/test_direct.py tests/sockets/test_select.py

test-user: $(VENV)/installed $(VENV)/test
	unshare -Urn $(BIN)/pytest $(USER_TESTS) $(PYTEST_ARGS)

# In parts, so that `make -k lint` shows what each finds.
lint: lint-python lint-types lint-format lint-c

lint-python: $(VENV)/dependencies
	$(BIN)/ruff check --output-format concise .
	$(BIN)/ruff format --check .

lint-types: $(VENV)/installed
	$(BIN)/mypy --strict -p barewire

lint-format: $(VENV)/dependencies
	$(BIN)/clang-format --dry-run -Werror $(C_SOURCES)

lint-c: $(VENV)/lint
	for unit in $(C_UNITS); do \
		gcc $(C_FLAGS) $$unit && clang $(C_FLAGS) $$unit || exit 1; done

SANITIZE = LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so.6)" \
	ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=1:strict_string_checks=1 \
	UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 BAREWIRE_TEST_HEADER_PREDICTION=0 \
	$(SANITIZED)/bin/pytest -m "not netns and not tree"

# Leaks are not searched for: an interpreter keeps much to its end, on purpose. The C++ library comes
# first, so that the sanitizer finds its exceptions (matplotlib's extensions throw some). And without header
# prediction: so the whole suite runs once with TCP's fast path (test) and once without.
# Where many buffers go between Python and C, Python allocates each by itself (PYTHONMALLOC), so that a byte
# beside one is found; the scenarios and simulations of TCP, whose memory is the engine's, do without: that
# halves their time.
sanitize: $(SANITIZED)/installed
	PYTHONMALLOC=malloc $(SANITIZE) tests --ignore tests/tcp --ignore tests/sim --ignore tests/fuzz $(PYTEST_ARGS)
	$(SANITIZE) tests/tcp tests/sim tests/fuzz $(PYTEST_ARGS)

# Each harness (fuzz/*/NAME_fuzz.c) begins with the tree's corpus and leaves what it finds in .fuzz/NAME; an
# input that fails is .fuzz/NAME-crash-*, and `.fuzz/NAME_fuzz INPUT` fails again. The engine gets so many
# seconds, each harness of drivers a tenth of them.
FUZZ_SECONDS ?= 600
FUZZ := .fuzz
FUZZERS := $(patsubst %_fuzz.c,%,$(notdir $(wildcard fuzz/*/*_fuzz.c)))
FUZZ_FLAGS := -std=gnu11 -g -O1 -I.

$(FUZZ)/%_fuzz: $(VENV)/fuzz $(shell find fuzz stack l2 nic_drivers -name '*.[ch]')
	mkdir -p $(FUZZ)
	clang $(FUZZ_FLAGS) -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
		$(wildcard fuzz/*/$*_fuzz.c) -o $@

$(FUZZ)/%_covered: $(VENV)/fuzz-coverage $(shell find fuzz stack l2 nic_drivers -name '*.[ch]')
	mkdir -p $(FUZZ)
	clang $(FUZZ_FLAGS) -fsanitize=fuzzer -fprofile-instr-generate -fcoverage-mapping \
		$(wildcard fuzz/*/$*_fuzz.c) -o $@

fuzz: $(FUZZERS:%=$(FUZZ)/%_fuzz)
	for name in $(FUZZERS); do \
		part=10; test $$name != engine || part=1; mkdir -p $(FUZZ)/$$name; \
		seconds=$$((($(FUZZ_SECONDS) + part - 1) / part)); \
		echo "== $$name: $$seconds s"; \
		UBSAN_OPTIONS=print_stacktrace=1 $(FUZZ)/$${name}_fuzz -max_total_time=$$seconds \
			-max_len=1000 -verbosity=0 -print_final_stats=1 -artifact_prefix=$(FUZZ)/$$name- \
			$(FUZZ)/$$name fuzz/corpus/$$name || exit 1; done

fuzz-coverage: $(FUZZERS:%=$(FUZZ)/%_covered)
	for name in $(FUZZERS); do \
		LLVM_PROFILE_FILE=$(FUZZ)/$$name.profraw $(FUZZ)/$${name}_covered -runs=0 -verbosity=0 \
			fuzz/corpus/$$name $(wildcard $(FUZZ)/$$name) && \
		llvm-profdata merge -sparse $(FUZZ)/$$name.profraw -o $(FUZZ)/$$name.profdata && \
		llvm-cov report $(FUZZ)/$${name}_covered -instr-profile=$(FUZZ)/$$name.profdata | \
			awk 'NF > 9 && $$8 { printf "%-40s %6d %6d  %s\n", $$1, $$8, $$9, $$10 }' || exit 1; done

# Of the other Debian: the device contract, what differs by its DPDK and its headers, and what is written
# against Python's own modules. ROOT_TESTS=tests has all of them run there.
ROOT_TESTS ?= $(addprefix tests/nic_drivers/test_,contract.py contract_kernel.py dpdk.py raw.py libraries.py) \
	tests/aio tests/sockets tests/drive
root: $(VENV)/dependencies $(VENV)/root
	sh tools/setup/root.sh other build make test TESTS="$(ROOT_TESTS)" PYTEST_ARGS="-q $(PYTEST_ARGS)"

wheel: $(VENV)/dependencies
	$(BIN)/python tools/setup/wheel.py

# What differs from one Python to the next: its socket module, its object model, its threads.
pythons: $(VENV)/dependencies
	TESTS="tests/aio tests/sockets tests/drive tests/control -m 'not netns'" \
		$(BIN)/python tools/setup/wheel.py $$($(BIN)/python tools/setup/pythons.py)

bare: $(VENV)/root
	sh tools/setup/bare.sh

format: $(VENV)/dependencies
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_SOURCES)

clean:
	rm -rf $(VENV) $(SANITIZED) $(FUZZ) build dist barewire.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
