"""Writes the goldens bart-classify, bart-qa, mt5 and t5-v1_1 (small checkpoints with random weights, and what transformers computes with them)
and state_dict.bin (t5-v1_1 as torch.save writes it).

    pip install torch==2.15.0 transformers==5.23.0 safetensors && python heads.py
"""

import json
import os

import torch
import transformers
from safetensors.torch import load_file, save_file

torch.set_num_threads(1)
BART = dict(
    vocab_size=96, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
    encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    decoder_start_token_id=2, forced_eos_token_id=None,
)  # fmt: skip
T5 = dict(
    vocab_size=96, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu",
    decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, tie_word_embeddings=False,
)  # fmt: skip
GOLDENS = {
    "bart-classify": (transformers.BartForSequenceClassification, transformers.BartConfig(**BART, num_labels=4)),
    "bart-qa": (transformers.BartForQuestionAnswering, transformers.BartConfig(**BART)),
    "mt5": (transformers.MT5ForConditionalGeneration, transformers.MT5Config(**T5)),
    "t5-v1_1": (transformers.T5ForConditionalGeneration, transformers.T5Config(**T5)),
}


def write(name, cls, config):
    random = torch.Generator().manual_seed(11)
    config._attn_implementation = "eager"
    model = cls(config).eval()
    if hasattr(model, "lm_head"):
        # transformers ties what a config does not keep apart; these families have an output projection of their own.
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.shared.weight))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(0, 0.15, generator=random)
            else:
                parameter.add_(torch.randn(parameter.shape, generator=random) * 0.1)
    os.makedirs(name, exist_ok=True)
    model.save_pretrained(name)

    ids = torch.randint(3, 96, (2, 9), generator=random)
    inputs = dict(input_ids=ids, attention_mask=torch.ones(2, 9, dtype=torch.long))
    inputs["attention_mask"][1, 6:] = 0
    # The end stands before the padding.
    ids[0, 8], ids[1, 5], ids[1, 6:] = config.eos_token_id, config.eos_token_id, config.pad_token_id
    meta = dict(model_class=cls.__name__, transformers=transformers.__version__, torch=torch.__version__)
    with torch.no_grad():
        if hasattr(model, "lm_head"):
            meta["greedy"] = model.generate(**inputs, do_sample=False, max_new_tokens=24).tolist()
            inputs["decoder_input_ids"] = torch.randint(3, 96, (2, 5), generator=random)
        outputs = model(**inputs)
    fields = {k: v for k, v in outputs.items() if k in ("logits", "start_logits", "end_logits")}
    tensors = {f"in.{k}": v.contiguous() for k, v in inputs.items()}
    tensors |= {f"out.{k}": v.contiguous() for k, v in fields.items()}
    save_file(tensors, f"{name}/golden.safetensors")
    with open(f"{name}/golden.json", "w") as file:
        json.dump(meta, file, indent=1)
    return model


for name, (cls, config) in GOLDENS.items():
    model = write(name, cls, config)

# The state dict with all that torch.save has to keep: metadata, every second tensor in bf16, an embedding under a second name, and two
# tensors that are views into the memory of one.
state = model.state_dict()
stored = load_file("t5-v1_1/model.safetensors")
for i, tensor in enumerate(sorted(stored)):
    state[tensor] = stored[tensor].to(torch.bfloat16 if i % 2 else torch.float32)
q, k = (f"encoder.block.0.layer.0.SelfAttention.{part}.weight" for part in "qk")
both = torch.cat([stored[q], stored[k]])
state[q], state[k] = both[: len(stored[q])], both[len(stored[q]) :]
for second in ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"):
    state[second] = state["shared.weight"]
torch.save(state, "state_dict.bin")
