# Two commands: `make demo` and `make test`. Both set the machine up first (scripts/setup.sh says what it installs).

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)
CUDA_PATH := $(CACHE)/kiln/cuda/nvidia/cuda_nvcc
KILN_MINILM := $(CACHE)/kiln/models/all-MiniLM-L6-v2

.PHONY: demo test check setup bench

demo: setup
	cargo build --release --quiet --package kiln
	./target/release/kiln demo

# One profile for everything, so that dependencies are built once.
test: setup check
	cargo test --release --workspace --doc --quiet
	CUDA_PATH=$(CUDA_PATH) KILN_MINILM=$(KILN_MINILM) cargo nextest run --release --workspace --features kiln-runtime/cli

check:
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets --features kiln-runtime/cli --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --quiet

setup:
	@bash scripts/setup.sh $(if $(filter test,$(MAKECMDGOALS)),--tests)

bench: setup
	cargo build --release --package kiln
	bash benches/peers/run.sh
