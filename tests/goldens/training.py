#!/usr/bin/env python3
"""Records steps of torch's AdamW on the checkpoints beside this file, in eval mode: more tasks, losses and hyperparameters.

usage: training.py        (transformers 5.23, torch 2.15, CPU)
Writes training/NAME/golden.json (`train`: the optimizer, the norm that gradients are clipped to, the losses; `grad_norms`: each
parameter's in the first step) and training/NAME/golden.safetensors (`in.*`, `train.labels`, `train.logits` after the steps).
"""
import json, os, shutil, tempfile, torch
import transformers
from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))
MULTI, REGRESSION = "multi_label_classification", "regression"
# Name, checkpoint, problem type, learning rate, weight decay, betas, eps, clipping, steps.
CASES = [
    ("t5", "t5", None, 1e-3, 0.01, (0.9, 0.999), 1e-8, 1.0, 3),
    ("mt5", "mt5", None, 1e-3, 0.01, (0.9, 0.999), 1e-8, 1.0, 3),
    ("bart", "bart", None, 2e-3, 0.1, (0.9, 0.999), 1e-8, 1.0, 3),
    ("bart-classify", "bart-classify", None, 1e-3, 0.01, (0.9, 0.999), 1e-6, 0.5, 3),
    ("bert-token", "bert-token", None, 1e-3, 0.01, (0.8, 0.95), 1e-8, 1.0, 3),
    ("bert-multi-label", "bert-classify", MULTI, 1e-3, 0.01, (0.9, 0.999), 1e-8, 1.0, 6),
    ("distilbert-regression", "distilbert-classify", REGRESSION, 1e-3, 0.01, (0.9, 0.999), 1e-8, 1.0, 3),
    ("gpt2", "gpt2", None, 1e-3, 0.3, (0.7, 0.9), 1e-8, 1.0, 3),
    ("llama", "llama", None, 5e-4, 0.0, (0.9, 0.999), 1e-8, None, 3),
]


def labels(model, kw, problem):
    rows, classes = kw["input_ids"].shape[0], model.config.num_labels
    name = type(model).__name__
    if problem == MULTI:
        return torch.rand(rows, classes).round()
    if problem == REGRESSION:
        return torch.rand(rows, classes)
    if name.endswith("ForSequenceClassification"):
        return torch.arange(rows) % 2
    if name.endswith("ForTokenClassification"):
        drawn = torch.randint(0, classes, kw["input_ids"].shape)
    elif "decoder_input_ids" in kw:
        drawn = torch.randint(3, 90, kw["decoder_input_ids"].shape)
        drawn[0, 0] = -100
        return drawn
    else:
        drawn = kw["input_ids"]
    return drawn.masked_fill(kw["attention_mask"] == 0, -100)


def record(name, checkpoint, problem, lr, decay, betas, eps, clip, steps):
    torch.manual_seed(0)
    source = os.path.join(HERE, checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        config = json.load(open(os.path.join(source, "config.json")))
        if problem:
            config["problem_type"] = problem
            json.dump(config, open(os.path.join(folder, "config.json"), "w"))
        cls = getattr(transformers, config["architectures"][0])
        model = cls.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    tensors = load_file(os.path.join(source, "golden.safetensors"))
    kw = {k[3:]: v for k, v in tensors.items() if k.startswith("in.")}
    wanted = labels(model, kw, problem)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=betas, eps=eps, weight_decay=decay)
    losses, norms = [], {}
    for step in range(steps):
        optimizer.zero_grad()
        loss = model(**kw, labels=wanted).loss
        loss.backward()
        if step == 0:
            norms = {n: float(p.grad.norm()) for n, p in model.named_parameters() if p.grad is not None}
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        losses.append(float(loss))
    out = {"in." + k: v for k, v in kw.items()} | {"train.labels": wanted.contiguous()}
    with torch.no_grad():
        out["train.logits"] = model(**kw).logits.contiguous()
    folder = os.path.join(HERE, "training", name)
    os.makedirs(folder, exist_ok=True)
    save_file(out, os.path.join(folder, "golden.safetensors"))
    text = f"AdamW lr={lr} betas=({betas[0]},{betas[1]}) eps={eps} weight_decay={decay}"
    train = dict(optimizer=text, max_grad_norm=clip, losses=losses)
    json.dump(dict(train=train, grad_norms=norms), open(os.path.join(folder, "golden.json"), "w"), indent=1)


torch.set_num_threads(1)
for case in CASES:
    record(*case)
