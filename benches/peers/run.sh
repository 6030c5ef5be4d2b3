#!/usr/bin/env bash
# kiln beside candle on the same f32 weights: builds both, prepares the weights, and lets them take turns. `make bench` calls this
# with `target/release/kiln` built. What it is given goes to compare.py (`--pairs 7`, `--threads 2`, `--profile`).
set -euo pipefail
cd "$(dirname "$0")"

root=$(cd ../.. && pwd)
kiln=${KILN:-$root/target/release/kiln}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/kiln/bench
export CARGO_TARGET_DIR=${BENCH_TARGET_DIR:-$root/target/peers}
mkdir -p "$cache"

# candle picks its kernels when it is compiled, kiln's are in the artifact.
cargo build --release --quiet --package bench-kiln
RUSTFLAGS="-C target-cpu=native" cargo build --release --quiet --package bench-candle

for model in smollm2 random; do
    if [ ! -f "$cache/$model/model.safetensors" ]; then
        "$CARGO_TARGET_DIR/release/bench-weights" $model "$cache/$model"
    fi
    if [ ! "$cache/$model.kiln" -nt "$kiln" ]; then
        "$kiln" compile "$cache/$model" -o "$cache/$model.kiln"
    fi
done

python3 compare.py --programs "$CARGO_TARGET_DIR/release" --models "$cache" --kiln "$kiln" "$@"
