"""Lets engines take turns on the same weights, and says how far each is from the machine's limits.

One process per engine and model stays loaded and waits for its turn; protocol/src/lib.rs has the lines they speak. Every round runs
each of them once, after the machine's own limits were measured, so that a ratio compares runs that had the same neighbours.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

PREFILL = 512
PROMPT, NEW = 32, 128
GOLDENS = Path(__file__).resolve().parents[2] / "tests/goldens/smollm2-135m-instruct.json"


class Program:
    """A program that answers lines."""

    def __init__(self, *command, threads):
        environment = dict(os.environ, RAYON_NUM_THREADS=str(threads))
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.name = self.read()["name"]

    def ask(self, line):
        print(line, file=self.process.stdin, flush=True)
        return self.read()

    def read(self):
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "it ended without an answer"}
        if "error" in answer:
            sys.exit(f"{' '.join(self.process.args)}: {answer['error']}")
        return answer


class Shape:
    """The work in a Llama, counted from its config: what any engine has to compute and to read."""

    def __init__(self, folder):
        config = json.loads((folder / "config.json").read_text())
        hidden, heads = config["hidden_size"], config["num_attention_heads"]
        head_dim = config.get("head_dim") or hidden // heads
        self.layers = config["num_hidden_layers"]
        self.q_dim, self.kv_dim = heads * head_dim, config["num_key_value_heads"] * head_dim
        self.layer = hidden * (2 * self.q_dim + 2 * self.kv_dim) + 3 * hidden * config["intermediate_size"]
        self.head = hidden * config["vocab_size"]

    def prefill_flops(self, tokens):
        """Every token through the layers, the last one through the head; a query meets the keys that it may see."""
        seen = tokens * (tokens + 1) // 2
        return 2 * (tokens * self.layers * self.layer + self.head) + 4 * self.layers * self.q_dim * seen

    def decode_bytes(self, prompt, new):
        """Every weight once per token, and the keys and values so far; f32."""
        seen = sum(range(prompt + 1, prompt + new + 1))
        return 4 * (new * (self.layers * self.layer + self.head) + 2 * self.layers * self.kv_dim * seen)


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}..{max(values):.2f})"


def greedy_ids(engines):
    """Both engines must write what the golden says, or there is nothing to compare."""
    cases = json.loads(GOLDENS.read_text())["cases"]
    case = next(case for case in cases if case["name"] == "digits")
    ids, want = ",".join(map(str, case["input_ids"])), case["new_ids"]
    for engine in engines:
        got = engine.ask(f"greedy {len(want)} {ids}")["ids"]
        if got != want:
            sys.exit(f"{engine.name} continues the golden prompt `{case['prompt']}` with {got}, expected {want}")
    print(f"greedy ids of the golden prompt: equal for {' and '.join(engine.name for engine in engines)} ({len(want)} tokens)")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--kiln", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=["prefill", "decode"])
    parser.add_argument("--profile", action="store_true", help="also where kiln's time goes, kernel by kernel")
    options = parser.parse_args()

    programs, models, threads = options.programs, options.models, options.threads
    start = lambda name, *args: Program(programs / name, *args, threads=threads)
    machine = start("bench-machine", threads)
    kiln = start("bench-kiln", models / "smollm2.kiln", "--threads", threads)
    candle = start("bench-candle", models / "smollm2")
    untuned = start("bench-kiln", models / "random.kiln", "--threads", threads)
    shapes = {kiln: Shape(models / "smollm2"), candle: Shape(models / "smollm2"), untuned: Shape(models / "random")}
    works = {
        "prefill": (f"prefill {PREFILL}", PREFILL, "flops", "gflops", lambda s: s.prefill_flops(PREFILL) * 1e-9),
        "decode": (f"decode {PROMPT} {NEW}", NEW, "read", "gbps", lambda s: s.decode_bytes(PROMPT, NEW) * 1e-9),
    }
    works = {work: what for work, what in works.items() if options.only in (None, work)}

    load = os.getloadavg()[0]
    greedy_ids([kiln, candle])
    engines = [kiln, candle, untuned]
    for line, *_ in works.values():
        for engine in engines:
            engine.ask(line)
    # Of each work: one list per engine, and the machine's limits, round by round.
    seconds = {work: {engine: [] for engine in engines} for work in works}
    limits = {work: [] for work in works}
    for turn in range(options.pairs):
        # Whoever goes first goes last the next time.
        order = engines if turn % 2 == 0 else engines[::-1]
        for work, (line, _, limit, unit, _) in works.items():
            limits[work].append(machine.ask(limit)[unit])
            for engine in order:
                seconds[work][engine].append(engine.ask(line)["seconds"])

    print(f"{options.pairs} rounds in turns, {threads} threads, load average {load:.1f} before and {os.getloadavg()[0]:.1f} after")
    print("medians; of ratios the median of the rounds (min..max)\n")
    names = {kiln: "kiln, SmolLM2-135M", candle: f"{candle.name}, SmolLM2-135M", untuned: "kiln, untuned shape"}
    met = []
    for work, (line, tokens, limit, unit, count) in works.items():
        label = {"gflops": "GFLOP/s", "gbps": "GB/s"}[unit]
        peak = statistics.median(limits[work])
        print(f"{line}: the machine gives {peak:.1f} {label} ({min(limits[work]):.1f}..{max(limits[work]):.1f})")
        print(f"  {'':<28}{'ms':>9}{'tokens/s':>10}{'at best':>9}{label:>9}  of the limit")
        rate = {}
        for engine in engines:
            took = seconds[work][engine]
            rate[engine] = [count(shapes[engine]) / s for s in took]
            median = statistics.median(took)
            fraction = spread([r / l for r, l in zip(rate[engine], limits[work])])
            print(
                f"  {names[engine]:<28}{median * 1e3:>9.1f}{tokens / median:>10.1f}{tokens / min(took):>9.1f}"
                f"{statistics.median(rate[engine]):>9.1f}  {fraction}"
            )
        faster = [c / k for c, k in zip(seconds[work][candle], seconds[work][kiln])]
        alike = [u / k for u, k in zip(rate[untuned], rate[kiln])]
        print(f"  kiln is {spread(faster)} times as fast as candle, wanted 1.5")
        print(f"  the untuned shape reaches {spread(alike)} of SmolLM2's {label}, wanted 0.85\n")
        met += [statistics.median(faster) >= 1.5, statistics.median(alike) >= 0.85]
    print("all goals met" if all(met) else "NOT all goals met")

    if options.profile:
        for model in ["smollm2", "random"]:
            print(f"\n# {model}", flush=True)
            program = [options.kiln, "bench", models / f"{model}.kiln", "--threads", str(threads), "--profile"]
            subprocess.run(program, check=True)


main()
