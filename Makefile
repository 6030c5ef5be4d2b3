# Two commands: `make demo` and `make test`. Both set the machine up first (scripts/setup.sh says what it installs).

# Where setup.sh puts what the tests need. Not in XDG_CACHE_HOME: tests find it there whatever that says.
TOOLS := $(HOME)/.cache/kiln

# Folders that the caller names but that cannot be written serve neither the compiler nor the tests.
writable = $(shell case "$(1)" in (/*) mkdir -p "$(1)" 2>/dev/null && test -w "$(1)" && echo yes;; esac)
ifneq ($(call writable,$(TMPDIR)),yes)
unexport TMPDIR
endif
ifneq ($(call writable,$(XDG_DATA_HOME)),yes)
unexport XDG_DATA_HOME
endif

# Checks and tests know nothing of the caller's models, caches, logs and language. XDG_DATA_HOME stays, where the build finds LLVM.
ELSEWHERE := $(shell env | sed -nE \
	's/^((CUDA_PATH|(HF|HUGGINGFACE|HUGGING_FACE|TRANSFORMERS|XDG|KILN|CUBECL|LC)_[A-Za-z0-9_]*|LANG|LANGUAGE|NO_COLOR|CLICOLOR|CLICOLOR_FORCE|RUST_LOG))=.*/\1/p')
TEST_ENV := env $(addprefix -u ,$(filter-out XDG_DATA_HOME,$(ELSEWHERE))) \
	CUDA_PATH=$(TOOLS)/cuda/nvidia/cuda_nvcc KILN_MINILM=$(TOOLS)/models/all-MiniLM-L6-v2

.PHONY: demo test check setup bench

# One profile and one set of features for everything, so that all is built once.
FEATURES := --release --workspace --features kiln/cli
BUILD := cargo build $(FEATURES)

demo: setup
	@echo "demo: building kiln, which takes about ten minutes on two cores the first time (LLVM's bindings and cubecl, mostly)"
	$(BUILD) --bin kiln
	@echo "demo: fetching SmolLM2-135M-Instruct (270 MB), compiling it (seconds), and letting it write"
	./target/release/kiln demo

test: setup check
	$(TEST_ENV) cargo test $(FEATURES) --doc --quiet
	$(TEST_ENV) cargo nextest run $(FEATURES)

check:
	cargo fmt --all --check
	$(TEST_ENV) cargo clippy $(FEATURES) --all-targets --quiet -- -D warnings
	$(TEST_ENV) RUSTDOCFLAGS="-D warnings" cargo doc $(FEATURES) --no-deps --quiet

setup:
	@bash scripts/setup.sh $(if $(filter test,$(MAKECMDGOALS)),--tests)

bench: setup
	$(BUILD) --bin kiln
	bash benches/peers/run.sh
