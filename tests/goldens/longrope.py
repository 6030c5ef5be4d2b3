"""Writes longrope.json and longrope.safetensors: inverse frequencies and attention factors of LongRoPE as transformers computes them, and the logits
of the golden phi3 under such a config, within the original context and beyond it.

    pip install torch==2.15.0 transformers==5.23.0 safetensors && python longrope.py
"""

import json

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

SHORT = [1.0, 1.0, 1.1, 1.25, 1.5, 2.0, 2.5, 3.0]
LONG = [1.0, 1.5, 2.5, 4.0, 8.0, 16.0, 24.0, 32.0]


def config(**rope):
    rope = dict(rope_type="longrope", rope_theta=10000.0, short_factor=SHORT, long_factor=LONG, **rope)
    own = transformers.Phi3Config.from_pretrained("phi3").to_dict()
    own |= dict(original_max_position_embeddings=8, rope_parameters=rope)
    return transformers.Phi3Config(**own)


cases = []
for rope in ({}, {"factor": 4.0}, {"attention_factor": 0.75}):
    made = config(**rope)
    for length in (None, 8, 9):
        frequencies, factor = ROPE_INIT_FUNCTIONS["longrope"](made, seq_len=length)
        cases.append(dict(rope=rope, seq_len=length, inv_freq=frequencies.tolist(), attention_factor=factor))
with open("longrope.json", "w") as file:
    json.dump(dict(short_factor=SHORT, long_factor=LONG, cases=cases), file, indent=1)

made = config()
made._attn_implementation = "eager"
model = transformers.Phi3ForCausalLM(made).eval()
model.load_state_dict(load_file("phi3/model.safetensors"), strict=False)
golden = load_file("phi3/golden.safetensors")
ids = golden["in.input_ids"]
with torch.no_grad():
    logits = {name: model(input_ids=ids[:, :length]).logits for name, length in (("short", 8), ("long", 17))}
save_file(logits, "longrope.safetensors")
