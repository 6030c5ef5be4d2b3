"""What each table of rules is worth to each model: the table in passes/README.md.

    cargo build --release && python3 benches/rules.py [MODEL ...] [--target cpu:zen3] [--rounds 5]

The checkpoints are the goldens in tests/goldens (two layers, small matrices) and the models given. Each is compiled with no rules, with each table
left out, and with all; a table without which a model stays as it is, in nodes, kernels, steps and bytes, has no row there.
"""

import argparse
import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def shape(row):
    return row["nodes"], row["kernels"], [(c["steps"], c["bytes"]) for c in row["cases"]]


def cells(case):
    milli = [case["predicted"] * 1e3, case["measured"] * 1e3]
    return [str(case["steps"]), f"{case['bytes'] * 1e-6:.2f}", *(f"{ms:.3g}" if ms < 100 else f"{ms:.0f}" for ms in milli)]


def table(name, rows):
    everything = rows[-1]
    kept = [r for r in rows if r["rules"] in ("none", "all") or shape(r) != shape(everything)]
    for i, row in enumerate(kept):
        # The largest case says most: a prompt, not one token.
        print("| " + " | ".join([name if i == 0 else "", row["rules"], str(row["nodes"]), str(row["kernels"]), *cells(row["cases"][0])]) + " |", flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("models", nargs="*")
    arguments.add_argument("--target", default="cpu")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--kiln", default=ROOT / "target/release/kiln")
    options = arguments.parse_args()
    print("| model | rules | nodes | kernels | steps | MB | predicted ms | measured ms |")
    print("|---|---|---|---|---|---|---|---|")
    goldens = sorted(p.parent for p in (ROOT / "tests/goldens").glob("*/config.json"))
    for model in [*goldens, *options.models]:
        command = [options.kiln, "bench", model, "--rules", "--json", "--target", options.target]
        command += ["--rounds", str(options.rounds), "--threads", str(options.threads)]
        report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        table(pathlib.Path(model).name, report["rows"])


if __name__ == "__main__":
    main()
