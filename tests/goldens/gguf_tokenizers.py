"""Writes gguf_tokenizers.json: tiny SentencePiece and WordPiece vocabularies in the form in which llama.cpp's converter writes them to GGUF, and
the ids that SentencePiece and transformers give for some texts.

    pip install protobuf sentencepiece==0.2.3 transformers==5.23.0 && python gguf_tokenizers.py > gguf_tokenizers.json
"""

import io
import json
import os
import tempfile

import sentencepiece
from transformers import BertTokenizer

TEXT = """The quick brown fox jumps over the lazy dog. A small model writes small words, and the words make a text.
Words are split into pieces; pieces are joined to words again. The text of the model is the text that the model writes.
How many words does the text have, and how many pieces? It has many words, and it has more pieces than words."""
CASES = [
    "The text",
    " two  spaces and a tail ",
    "words, words; small words!",
    "the model\nwrites pieces",
    "naïve 日本 🙂",
    "",
    "jumps overthelazy",
    "ABCdef ＡＢ",
]

# llama.cpp's token types.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


def trained(**options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT.split("\n")), model_writer=model, minloglevel=2, **options
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()), model.getvalue()


def described(processor):
    ids = range(processor.vocab_size())

    def kind(i):
        if processor.is_unknown(i):
            return UNKNOWN
        if processor.is_control(i):
            return CONTROL
        return BYTE if processor.is_byte(i) else NORMAL

    return {
        "tokens": [processor.id_to_piece(i) for i in ids],
        "scores": [processor.get_score(i) for i in ids],
        "types": [kind(i) for i in ids],
    }


def bpe(prefix):
    processor, _ = trained(
        vocab_size=330,
        model_type="bpe",
        byte_fallback=True,
        add_dummy_prefix=prefix,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
    )
    cases = [[text, [processor.bos_id()] + processor.encode(text)] for text in CASES]
    return {**described(processor), "prefix": prefix, "cases": cases}


def unigram():
    with tempfile.TemporaryDirectory() as folder:
        # A table of its own: full-width A and B, a no-break space and a new line.
        rules = os.path.join(folder, "rules.tsv")
        with open(rules, "w") as file:
            file.write("FF21\t41\nFF22\t42\nA0\t20\nA\t20\n")
        processor, proto = trained(
            vocab_size=60,
            model_type="unigram",
            normalization_rule_tsv=rules,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
        )
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(proto)
    cases = [[text, processor.encode(text) + [processor.eos_id()]] for text in CASES + ["Ａ\u00a0text"]]
    return {**described(processor), "charsmap": list(model.normalizer_spec.precompiled_charsmap), "cases": cases}


def wordpiece(lowercase):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = ["the", "text", "word", "##s", "small", "model", "##ly", ",", "!", "na", "##ive", "##ï", "##ve", "日", "本", "fox"]
    if not lowercase:
        words += ["The", "A", "##B"]
    tokens = special + words
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = BertTokenizer(vocab=vocabulary, do_lower_case=lowercase)
    cases = []
    for text in ["The text, the words!", "smally naïve 日本", "[MASK] AB The", "unknownword fox"]:
        cases.append([text, tokenizer(text)["input_ids"]])
    pair = tokenizer("the text", "small words")
    # What the converter makes of it: marks at the beginnings instead of the continuations.
    phantom = [t if t in special else t[2:] if t.startswith("##") else "\u2581" + t for t in tokens]
    return {
        "tokens": phantom,
        "types": [CONTROL if t in special else NORMAL for t in tokens],
        "cases": cases,
        "pair": [pair["input_ids"], pair["token_type_ids"]],
    }


goldens = {
    "llama": bpe(True),
    "gemma": bpe(False),
    "t5": unigram(),
    "bert": wordpiece(True),
    "bert-cased": wordpiece(False),
}
print(json.dumps(goldens, ensure_ascii=False, separators=(",", ":")).replace("},", "},\n"))
