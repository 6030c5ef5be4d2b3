"""Writes gguf_names.json: for goldens of the families that llama.cpp knows, what llama.cpp's `gguf` package calls each tensor, and null for
what its converter leaves out.

    pip install gguf==0.19.0 safetensors && python gguf_names.py > gguf_names.json
"""

import json

import gguf
from safetensors import safe_open

# llama.cpp's architecture, and the prefix that its converter cuts off.
GOLDENS = {
    "llama": ("llama", ""),
    "mistral-window": ("llama", ""),
    "qwen2": ("qwen2", ""),
    "qwen3": ("qwen3", ""),
    "smollm3": ("smollm3", ""),
    "olmo2": ("olmo2", ""),
    "phi3": ("phi3", ""),
    "gemma2": ("gemma2", ""),
    "gemma3-text": ("gemma3", ""),
    "gpt-neox": ("gptneox", ""),
    "gpt2": ("gpt2", ""),
    "bert-mlm": ("bert", "bert."),
    "roberta-qa": ("bert", "roberta."),
    "distilbert-classify": ("bert", "distilbert."),
    "modernbert-mlm": ("modern-bert", "model."),
    "t5": ("t5", ""),
}
LEFT_OUT = ("cls.", "pooler.", "decoder.bias", "classifier.", "pre_classifier.", "qa_outputs.", "vocab_")

architectures = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
names = {}
for golden, (architecture, prefix) in GOLDENS.items():
    known = gguf.get_tensor_name_map(architectures[architecture], 8)
    with safe_open(f"{golden}/model.safetensors", "np") as file:
        tensors = {}
        for tensor in sorted(file.keys()):
            bare = tensor.removeprefix(prefix)
            left_out = golden != "t5" and bare.startswith(LEFT_OUT)
            name = None if left_out else known.get_name(bare, (".weight", ".bias"))
            assert left_out or name, (golden, tensor)
            tensors[tensor] = name
    names[golden] = tensors
print(json.dumps(names, indent=0))
