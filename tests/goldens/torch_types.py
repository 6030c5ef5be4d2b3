"""Writes checkpoints with tensors of types that nothing is computed in, as torch.save writes them: torch_integers.bin and torch_types.bin. Needs torch.

    python torch_types.py FOLDER
"""

import sys
from collections import OrderedDict
from pathlib import Path

import torch

folder = Path(sys.argv[1])
rows = torch.arange(6, dtype=torch.float32).reshape(2, 3)
plain = [
    ("rows.weight", rows),
    ("columns.weight", rows.t()),
    ("tail", rows.flatten()[4:]),
    ("norm.weight", torch.nn.Parameter(torch.tensor([1.0, -2.5], dtype=torch.bfloat16))),
    ("ids", torch.tensor([-1, 1 << 40])),
    ("scalar", torch.tensor(7.0)),
]
integers = [(name, torch.ones(3).to(getattr(torch, name))) for name in ("int16", "uint16", "uint32", "uint64")]
new = [(name, torch.ones(3).to(getattr(torch, name))) for name in ("float8_e4m3fn", "float8_e5m2", "complex64", "complex128")]
new += [
    ("quantized", torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)),
    ("sparse", torch.eye(3).to_sparse()),
    ("empty", torch.zeros(0).to(torch.float8_e4m3fn)),
]
torch.save(OrderedDict(plain + integers), folder / "torch_integers.bin")
torch.save({"state_dict": OrderedDict(plain + integers + new), "epoch": 3, "note": "nested"}, folder / "torch_types.bin")
