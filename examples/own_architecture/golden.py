"""Writes golden/: a tiny StableLM with random weights, and what transformers computes with it.

    pip install torch transformers && python golden.py golden
"""

import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

out = pathlib.Path(sys.argv[1])
torch.manual_seed(17)
config = transformers.StableLmConfig(
    vocab_size=256, hidden_size=48, intermediate_size=112, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=128, use_qkv_bias=True, partial_rotary_factor=0.5,
    bos_token_id=1, eos_token_id=2, pad_token_id=0, attn_implementation="eager")  # fmt: skip
model = transformers.StableLmForCausalLM(config).eval()
with torch.no_grad():
    # A default initialisation is near zero, and hides a forgotten bias or norm.
    for parameter in model.parameters():
        parameter.add_(torch.randn(parameter.shape) * 0.1)
    inputs = {"input_ids": torch.randint(3, 256, (2, 9)), "attention_mask": torch.ones(2, 9, dtype=torch.long)}
    inputs["attention_mask"][1, :3] = 0
    logits = model(**inputs).logits
    greedy = model.generate(**inputs, do_sample=False, max_new_tokens=12)[:, 9:]
model.save_pretrained(out)
tensors = {f"in.{name}": tensor for name, tensor in inputs.items()} | {"out.logits": logits}
save_file(tensors, out / "golden.safetensors")
versions = {"transformers": transformers.__version__, "torch": torch.__version__}
(out / "golden.json").write_text(json.dumps(versions | {"greedy": greedy.tolist()}) + "\n")
