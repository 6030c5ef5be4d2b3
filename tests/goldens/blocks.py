"""Writes blocks.json: random blocks of each format, and what llama.cpp's `gguf` package dequantises them to.

    pip install gguf==0.19.0 && python blocks.py > blocks.json
"""

import json

import gguf
import numpy

# Where a block's f16 fields lie.
HALVES = {
    "Q8_0": [0],
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q2_K": [80, 82],
    "Q3_K": [108],
}

random = numpy.random.default_rng(7)
cases = {}
for name, halves in HALVES.items():
    kind = gguf.GGMLQuantizationType[name]
    _, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (2, size), dtype=numpy.uint8)
    for at in halves:
        scales = random.uniform(-0.1, 0.1, 2).astype(numpy.float16)
        blocks[:, at : at + 2] = scales.view(numpy.uint8).reshape(2, 2)
    values = gguf.quants.dequantize(blocks, kind).astype(numpy.float32).ravel()
    cases[name.lower()] = {
        "type": int(kind),
        "bytes": blocks.tobytes().hex(),
        "values": [float(f"{x:.9g}") for x in values],
    }
print(json.dumps(cases, indent=None, separators=(",", ":")).replace("},", "},\n"))
