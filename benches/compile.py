"""How long each family takes to compile: a table for models/README.md.

    cargo build --release && python3 benches/compile.py [--rounds 3]

The checkpoints are the goldens in tests/goldens: two layers, small matrices. That is enough, since equal layers are compiled once, and code does not
grow with the size of a matrix; what grows is the time to write the weights. Times are medians of some rounds.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
STAGES = ["trace_seconds", "passes_seconds", "codegen_seconds", "write_seconds"]


def compile_once(kiln, checkpoint, out):
    command = [kiln, "compile", checkpoint, "-o", out, "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--kiln", default=ROOT / "target/release/kiln")
    options = arguments.parse_args()
    print("| golden | class | kernels | trace, rewrite, plan | code | whole |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "model.kiln"
        for config in sorted((ROOT / "tests/goldens").glob("*/config.json")):
            name = json.loads(config.read_text())["architectures"][0]
            reports = [compile_once(options.kiln, config.parent, out) for _ in range(options.rounds)]
            times = {stage: statistics.median(r[stage] for r in reports) for stage in STAGES}
            front = times["trace_seconds"] + times["passes_seconds"]
            whole = statistics.median(sum(r[s] for s in STAGES) for r in reports)
            kernels = reports[0]["kernels"]
            print(
                f"| {config.parent.name} | `{name}` | {kernels} | {front:.2f} s | {times['codegen_seconds']:.2f} s | {whole:.2f} s |",
                flush=True,
            )


if __name__ == "__main__":
    main()
