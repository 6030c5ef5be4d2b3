"""Writes tokenizer_files.json: what transformers' AutoTokenizer makes of the files that a folder may have.

    pip install transformers==5.23.0 sentencepiece==0.2.3 protobuf && python tokenizer_files.py

- `texts`: what is tokenized, and `pair`, two texts together.
- `sources`: by name, files: a text, or bytes in base64.
- `cases`: the model's type, the names of the sources whose files the folder has, files over them (each a text or a JSON value), and what comes of it:
  the class, the ids of the texts with special tokens, what they decode to without them, ids and types of the pair, and the special tokens by
  name.
"""

import base64
import io
import json
import os
import tempfile

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = [
    "", "the cat", " The Cat  sat. ", "a<|im_start|>user\nhi<|im_end|> <|im_end|>", "<s>the</s> <mask> x [MASK] y", "東京 cat",
    "café ﬁ Ünï", "🙂 \t\x07\n\n", "it's 1234", "<extra_id_1> [NEW]s  [NEW] new", "▁a",
]
PAIR = ["the cat", "sat on"]
CORPUS = ["the cat sat on the mat and the dog sat on the cat", "a test of the user it's 1234 new café"]
MERGES = ["t h", "th e", "Ġ the", "Ġ c", "a t", "Ġc at", "c at", "s at", "Ġ s", "Ġs at", "n e", "ne w", "Ġ new", "1 2", "12 3"]


def byte_level(specials):
    """A vocabulary of the bytes, a few merges and special tokens, as GPT-2's."""
    tokens = specials + sorted(pre_tokenizers.ByteLevel.alphabet()) + [merge.replace(" ", "") for merge in MERGES]
    return {token: id for id, token in enumerate(tokens)}


def bpe_files(specials):
    return {"vocab.json": json.dumps(byte_level(specials), ensure_ascii=False), "merges.txt": "\n".join(["#version: 0.2", *MERGES, ""])}


def bpe(specials, special=True, prefix=False, post=None):
    merges = [tuple(merge.split()) for merge in MERGES]
    tokenizer = Tokenizer(models.BPE(byte_level(specials), merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = post
    tokenizer.add_tokens([AddedToken(token, special=special, normalized=False) for token in specials])
    return {"tokenizer.json": tokenizer.to_str()}


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyzTCÜé.'▁東京", "the", "The", "cat", "Cat", "sat", "cafe", "caf", "##é"]
WORDS += ["1", "##2", "##3", "##4", "new", "##s", "it", "user", "[", "]", "<", ">", "東京", "uni", "##n", "##i", "un"]


def wordpiece(lower):
    tokenizer = Tokenizer(models.WordPiece({word: id for id, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(WORDS[:5])
    return {"tokenizer.json": tokenizer.to_str()}


def pieces(kind, **options):
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        # The ligature fi becomes two letters.
        rules.write("FB01\t66 69\n")
        rules.flush()
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(CORPUS), model_writer=model, model_type=kind, hard_vocab_limit=False, minloglevel=2,
            normalization_rule_tsv=rules.name if kind == "unigram" else "", normalization_rule_name="identity", **options,
        )
    return {"base64": base64.b64encode(model.getvalue()).decode()}


def llama_json(legacy):
    """Older conversions have a normalizer, newer ones a pre-tokenizer."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = ["<unk>", "<s>", "</s>", *bytes_, *"▁thecatsonmd", "th", "the", "▁the", "▁c", "at", "▁cat"]
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("▁", "c"), ("a", "t"), ("▁c", "at")]
    tokens = list(dict.fromkeys(tokens))
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if legacy:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    return {"tokenizer.json": tokenizer.to_str()}


END = ["<|endoftext|>"]
IM = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
LLAMA = {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1}
BYTES = {"byte_fallback": True, "vocab_size": 330, "remove_extra_whitespaces": False}
SOURCES = {
    "gpt2-files": bpe_files(END),
    "roberta-files": bpe_files(ROBERTA),
    "qwen2-files": bpe_files(IM),
    "bert-files": {"vocab.txt": "\n".join([*WORDS, ""])},
    "bpe": bpe(["<pad>", "<s>", "</s>"]),
    "bpe-im": bpe(["<|im_start|>", "<|im_end|>", "<s>"], special=False),
    "bpe-bos": bpe(["<pad>", "<s>", "</s>"], post=processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])),
    "roberta": bpe(ROBERTA, post=processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)),
    "cased": wordpiece(False),
    "uncased": wordpiece(True),
    "llama": llama_json(False),
    "llama-legacy": llama_json(True),
    "llama-files": {"tokenizer.model": pieces("bpe", **LLAMA, **BYTES)},
    "gemma-files": {"tokenizer.model": pieces(
        "bpe", pad_id=0, eos_id=1, bos_id=2, unk_id=3, eos_piece="<eos>", bos_piece="<bos>", user_defined_symbols=["<mask>", "  "], **BYTES)},
    "t5-files": {"spiece.model": pieces("unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1, vocab_size=60)},
    "xlm-roberta-files": {"sentencepiece.bpe.model": pieces("unigram", vocab_size=60, **LLAMA)},
    "unigram-files": {"tokenizer.model": pieces("unigram", vocab_size=60, user_defined_symbols=["[NEW]"], **LLAMA)},
}


def token(content, **fields):
    return {"content": content, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True, **fields}


def config(name, **fields):
    return {"tokenizer_config.json": {"tokenizer_class": name, **fields}}


FAST = "PreTrainedTokenizerFast"
NAMES = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
CASES = [
    # Tokens that tokenizer.json lacks.
    ("llama", "bpe", config(FAST, **NAMES, added_tokens_decoder={"273": token("<|im_start|>"), "274": token("[NEW]", special=False, lstrip=True)})),
    ("llama", "bpe", config(FAST, **NAMES, added_tokens_decoder={"300": token("<|im_end|>", rstrip=True), "290": token("[NEW]", single_word=True)})),
    ("qwen3", "bpe", {"added_tokens.json": {"[NEW]": 290, "<|im_end|>": 289}, **config(FAST, eos_token="<|im_end|>")}),
    ("smollm3", "bpe", config(FAST, additional_special_tokens=["<|im_start|>", "<|im_end|>"], **NAMES)),
    # As a text, since the order of the fields gives the ids.
    ("llama", "bpe", {"tokenizer_config.json": json.dumps({"extra_special_tokens": {"z": "<|im_end|>", "a": "<|im_start|>"}})}),
    ("llama", "bpe", config(FAST, extra_special_tokens=["<|im_end|>"], additional_special_tokens=["[NEW]"], image_token="<mask>")),
    ("olmo2", "bpe", {"special_tokens_map.json": {"additional_special_tokens": ["<|im_start|>"], "mask_token": token("<mask>", lstrip=True)}}),
    ("llama", "bpe", {"special_tokens_map.json": {"eos_token": "<|im_end|>"}, **config(FAST, **NAMES)}),
    # What is special.
    ("llama", "bpe-im", config(FAST, eos_token="<|im_end|>")),
    ("qwen3", "bpe-im", config("Qwen2Tokenizer", eos_token="<|im_end|>", pad_token="<|im_start|>")),
    ("mistral", "bpe-im", config(FAST, added_tokens_decoder={"0": token("<|im_start|>"), "1": token("<|im_end|>", special=False)})),
    # BERT.
    *[("bert", source, config(name, **options))
      for source in ("cased", "uncased") for name, options in [
          ("BertTokenizerFast", {"do_lower_case": True}), ("BertTokenizer", {"do_lower_case": False}), ("BertTokenizer", {}),
          ("BertTokenizer", {"strip_accents": True, "do_lower_case": False}), ("BertTokenizer", {"strip_accents": False}),
          ("BertTokenizer", {"tokenize_chinese_chars": False}), (FAST, {"do_lower_case": True}), ("DistilBertTokenizer", {"do_lower_case": False})]],
    ("electra", "cased", {}),
    ("modernbert", "cased", config("BertTokenizer", do_lower_case=True)),
    ("bert", "bert-files", {}),
    ("distilbert", "bert-files", config("DistilBertTokenizer", do_lower_case=False, mask_token="<mask>")),
    ("electra", "bert-files", config("ElectraTokenizer", strip_accents=False)),
    # Bytes.
    ("gpt2", "bpe", config("GPT2Tokenizer", add_prefix_space=True, **NAMES)),
    ("gpt2", "bpe-bos", config("GPT2TokenizerFast", **NAMES)),
    ("gpt2", "bpe", config(FAST, add_prefix_space=True)),
    ("llama", "bpe", config("LlamaTokenizerFast", add_prefix_space=True, **NAMES)),
    ("roberta", "roberta", config("RobertaTokenizer", add_prefix_space=True, mask_token=token("<mask>", lstrip=True, __type="AddedToken"))),
    ("bart", "roberta", config("BartTokenizerFast", trim_offsets=False)),
    ("roberta", "bpe-bos", {}),
    ("gpt_neox", "bpe-bos", config("GPTNeoXTokenizer", **NAMES, add_bos_token=True)),
    ("qwen2", "bpe", config(FAST, pad_token="<pad>")),
    ("gpt2", "gpt2-files", {}),
    ("gpt2", "gpt2-files", config("GPT2Tokenizer", add_bos_token=True, add_prefix_space=True)),
    ("gpt_neox", "gpt2-files", config("GPTNeoXTokenizer", add_eos_token=True)),
    ("roberta", "roberta-files", {}),
    ("bart", "roberta-files", config("BartTokenizer", added_tokens_decoder={"4": token("<mask>", lstrip=True)})),
    ("qwen2", "qwen2-files", config("Qwen2Tokenizer", eos_token="<|im_end|>", additional_special_tokens=["<|im_start|>"])),
    ("qwen3", "qwen2-files", config("Qwen2TokenizerFast", add_prefix_space=True)),
    # SentencePiece.
    *[("llama", source, config(name, **options))
      for source in ("llama", "llama-legacy") for name, options in [
          ("LlamaTokenizer", {}), ("LlamaTokenizerFast", {"legacy": True}), ("LlamaTokenizer", {"add_prefix_space": False}),
          ("LlamaTokenizer", {"add_bos_token": False, "add_eos_token": True}), ("CodeLlamaTokenizer", {}), (FAST, {"legacy": True})]],
    ("phi3", "llama-legacy", config("LlamaTokenizer", added_tokens_decoder={"279": token("<|im_end|>", rstrip=True)})),
    ("mistral", "llama-legacy", config("LlamaTokenizer", add_bos_token=True)),
    ("llama", "llama-files", config("LlamaTokenizer", add_bos_token=True)),
    ("llama", "llama-files", config("LlamaTokenizer", add_eos_token=True, legacy=True)),
    ("llama", "llama-files", {}),
    ("mistral", "llama-files", config("LlamaTokenizer", add_bos_token=True, add_eos_token=True)),
    ("phi3", "llama-files", config("LlamaTokenizer", add_bos_token=False, added_tokens_decoder={"330": token("<|im_end|>", rstrip=True)})),
    ("gemma2", "gemma-files", config("GemmaTokenizer", add_bos_token=True)),
    ("gemma3_text", "gemma-files", {}),
    ("t5", "t5-files", {}),
    ("mt5", "t5-files", config("T5Tokenizer", extra_ids=2)),
    ("t5", "t5-files", config("T5Tokenizer", additional_special_tokens=[f"<extra_id_{n}>" for n in range(100)])),
    ("xlm-roberta", "xlm-roberta-files", {}),
    ("xlm-roberta", "xlm-roberta-files", config("XLMRobertaTokenizer", mask_token=token("<mask>", lstrip=True, __type="AddedToken"))),
    ("llama", "unigram-files", config(FAST, add_bos_token=True)),
]


def run(model_type, source, files):
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {"config.json": {"model_type": model_type}, **SOURCES[source], **files}.items():
            with open(os.path.join(folder, name), "wb") as file:
                if isinstance(content, dict) and "base64" in content:
                    file.write(base64.b64decode(content["base64"]))
                else:
                    file.write((content if isinstance(content, str) else json.dumps(content)).encode())
        tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    pair = tokenizer(*PAIR, return_token_type_ids=True)
    named = {name: str(tokenizer.special_tokens_map[name]) for name in sorted(tokenizer.special_tokens_map) if name in (
        "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")}
    return {
        "class": type(tokenizer).__name__, "ids": ids, "texts": [tokenizer.decode(row, skip_special_tokens=True) for row in ids],
        "pair": [pair["input_ids"], pair["token_type_ids"]], "named": named, "padding_side": tokenizer.padding_side,
        "model_input_names": tokenizer.model_input_names,
    }


def main():
    cases = [{"model_type": t, "source": s, "files": f, **run(t, s, f)} for t, s, f in CASES]
    lines = ",\n  ".join(json.dumps(case, ensure_ascii=False) for case in cases)
    sources = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(files, ensure_ascii=False)}" for name, files in SOURCES.items())
    head = json.dumps({"texts": TEXTS, "pair": PAIR}, ensure_ascii=False)[1:-1]
    with open(os.path.join(HERE, "tokenizer_files.json"), "w") as file:
        file.write(f'{{{head},\n "sources": {{\n  {sources}\n }},\n "cases": [\n  {lines}\n ]}}\n')
    print(len(cases), "cases")


if __name__ == "__main__":
    main()
