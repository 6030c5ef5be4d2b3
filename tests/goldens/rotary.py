"""Writes rotary.json: what transformers generates where rotary embedding follows the length of the sequence, with the weights of the goldens llama and
phi3 under changed configs. A prompt is a number of tokens: token i of prompt r is 3 + (i * i * 7 + i * 31 + r * 101) % 381. Batches are padded on the
left; `padding` columns more stand before all rows. `gap` is the smallest difference of the two best logits on the way.

    pip install torch==2.15.0 transformers==5.23.0 safetensors && python rotary.py
"""

import json

import torch
import transformers
from safetensors.torch import load_file

DYNAMIC = dict(rope_type="dynamic", rope_theta=10000.0, factor=4.0)
LONGROPE = dict(
    rope_type="longrope",
    rope_theta=10000.0,
    short_factor=[1 + 0.01 * i for i in range(8)],
    long_factor=[1.5 + i for i in range(8)],
)


def token(i, r):
    return 3 + (i * i * 7 + i * 31 + r * 101) % 381


def config(name, changes):
    kind = dict(llama=transformers.LlamaConfig, phi3=transformers.Phi3Config)[name]
    own = kind.from_pretrained(name).to_dict() | dict(eos_token_id=None) | json.loads(json.dumps(changes))
    made = kind(**own)
    made._attn_implementation = "eager"
    return made


def case(name, changes, prompts, new_tokens, padding=0, **options):
    made = config(name, changes)
    kind = dict(llama=transformers.LlamaForCausalLM, phi3=transformers.Phi3ForCausalLM)[name]
    model = kind(made).eval()
    model.load_state_dict(load_file(f"{name}/model.safetensors"), strict=False)
    width = max(prompts) + padding
    ids, mask = torch.zeros(len(prompts), width, dtype=torch.long), torch.zeros(len(prompts), width, dtype=torch.long)
    for r, n in enumerate(prompts):
        ids[r, width - n :] = torch.tensor([token(i, r) for i in range(n)])
        mask[r, width - n :] = 1
    with torch.no_grad():
        out = model.generate(
            ids, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False, output_logits=True, return_dict_in_generate=True, **options
        )
    best = torch.stack(out.logits).topk(2, -1).values
    gap = (best[..., 0] - best[..., 1]).min().item()
    made = dict(
        model=name, config=changes, prompts=prompts, padding=padding, new_tokens=new_tokens, options=options,
        gap=round(gap, 4), ids=out.sequences[:, width:].tolist(),
    )  # fmt: skip
    print(name, prompts, options, "gap", gap)
    return made


def own_token(first, row, other):
    """The first new token, after two, that the row has and the other one has not, and that the row did not have before."""
    ids = first["ids"][row]
    return next(t for i, t in enumerate(ids) if i >= 2 and t not in ids[:i] and t not in first["ids"][other])


dynamic = dict(max_position_embeddings=64, rope_parameters=DYNAMIC)
long = dict(original_max_position_embeddings=32, rope_parameters=LONGROPE)
cases = [
    # Prompts of more than one chunk, and rows of different lengths.
    case("llama", dynamic, [713], 8),
    case("llama", dynamic, [800, 40, 530], 8),
    case("llama", dynamic, [1100, 1099], 4),
    case("llama", dynamic, [60, 20], 12),
    case("llama", dynamic, [520, 90], 8, num_beams=3, num_return_sequences=2),
    # LongRoPE: all of Phi-3's cache is made anew at the border; of Llama's none.
    case("phi3", long, [20], 24),
    case("phi3", long, [31, 9, 30], 8),
    case("phi3", long, [32, 33], 6),
    case("phi3", long, [10, 9], 30, padding=5),
    case("phi3", long, [28, 12], 10, num_beams=3),
    case("phi3", long, [700, 600], 6),
    case("llama", long, [20], 24),
    case("llama", long, [700, 30], 6),
]
# The longest row ends first, and its length counts on.
plain = case("llama", dynamic, [90, 60], 12)
cases.append(case("llama", dynamic, [90, 60], 12, eos_token_id=own_token(plain, 0, 1), pad_token_id=0))
plain = case("phi3", long, [27, 12], 14)
cases.append(case("phi3", long, [27, 12], 14, eos_token_id=own_token(plain, 0, 1), pad_token_id=0))
with open("rotary.json", "w") as file:
    file.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
