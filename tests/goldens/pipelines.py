"""Writes pipelines.json, what transformers' pipelines and tokenizers give on the checkpoints of this folder, and the tokenizers that they need.

    pip install torch==2.15.0 transformers==5.23.0 && python pipelines.py
    pip install transformers==4.57.6 && python pipelines.py

The first run, with transformers 5, writes `tokenizers/*`, the tokenizer cases and the pipelines that transformers 5 has. The second one adds those
that it dropped (question-answering, summarization, translation, text2text-generation) as the last transformers 4 had them. Everything is
computed in f32 on the CPU with eager attention and without sampling.

pipelines.json has
- `models`: by name, the checkpoint, the tokenizer, and what goes over its `config.json` and `tokenizer_config.json`.
- `pipelines`: by task, the cases: a model, an input, the options of the call, and the output. `generate` among the options holds those
  that go on to `generate`.
- `tokenizers`: by name of the tokenizer, the cases: texts, pairs or none, options, and the fields of the encodings.
"""

import json
import os
import shutil
import sys
import tempfile

import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, pipeline
from transformers.pipelines import SUPPORTED_TASKS

HERE = os.path.dirname(os.path.abspath(__file__))
VOCAB = 384

CORPUS = """
The cat sat on the mat and looked at the dog. The dog looked back at the cat, and then it slept.
Anna lives in Berlin and works for a small bakery near the river. Every morning she bakes bread, cakes and rolls.
Her brother Paul lives in Paris; he plays the violin in an orchestra and travels to Rome in the summer.
What is the capital of France? The capital of France is Paris. Where does Anna live? She lives in Berlin.
The weather was cold, but the children were happy: they played in the snow until the evening came.
I love this film, it is wonderful! I hate that book, it is boring and much too long.
A good engine is quiet, fast and simple. One two three four five six seven eight nine ten.
""".strip()

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


# The tokenizers: one of each kind that the checkpoints' families have.


def filled(tokens):
    """The tokens, without repetition, and as many unused ones as the models' vocabulary has left."""
    tokens = list(dict.fromkeys(tokens))
    assert len(tokens) <= VOCAB, len(tokens)
    return tokens + [f"[unused{i}]" for i in range(VOCAB - len(tokens))]


def words():
    """The corpus' words in lower case, most frequent first."""
    found = "".join(c if c.isalpha() else " " for c in CORPUS.lower()).split()
    return sorted(set(found), key=lambda w: (-found.count(w), w))


def wordpiece():
    """BERT's: the second half of the longer words is left to subwords."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = ["##s", "##ed", "##ing", "##er", "##ly", "##ful", "##tra", "##ment"] + [f"##{c}" for c in letters]
    short = [w for w in words() if len(w) < 8] + ["play", "live", "work", "wonder", "bak"]
    vocab = filled(special + list(letters) + list("0123456789.,:;!?'-()") + pieces + short)
    tokenizer = Tokenizer(models.WordPiece({t: i for i, t in enumerate(vocab)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=256, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def byte_level(special, post_processor, **fields):
    """GPT-2's: bytes, merged as often as the vocabulary has room for."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS.splitlines(), trainer)
    assert tokenizer.get_vocab_size() == VOCAB
    tokenizer.post_processor = post_processor
    names = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=names, **fields)


def roberta():
    """RoBERTa's order of special tokens, its pairs, its offsets without the space before a word."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    mask = AddedToken("<mask>", lstrip=True, special=True)
    post = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    return byte_level(
        special[:4] + [mask], post, model_max_length=254, bos_token="<s>", eos_token="</s>", cls_token="<s>",
        sep_token="</s>", pad_token="<pad>", unk_token="<unk>", mask_token=mask,
    )  # fmt: skip


def bart():
    """As RoBERTa's, by a template and with the ids that BART's and ModernBERT's checkpoints have."""
    special = ["<pad>", "<s>", "</s>", "<unk>", "<mask>"]
    post = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return byte_level(
        special, post, model_max_length=256, bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>",
        pad_token="<pad>", unk_token="<unk>", mask_token="<mask>",
    )  # fmt: skip


def decoder():
    """A decoder's: a beginning but no end, padding on the left, and a chat template."""
    special = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    post = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)])
    return byte_level(
        special, post, model_max_length=256, bos_token="<s>", eos_token="</s>", pad_token="<pad>", padding_side="left",
        chat_template=TEMPLATE,
    )  # fmt: skip


def unigram():
    """T5's: pieces that begin with the space before them."""
    special = ["<pad>", "</s>", "<unk>"]
    found = words()
    counted = [(f"▁{w}", -3.0 - 0.02 * i) for i, w in enumerate(found)]
    counted += [("▁", -4.0)] + [(piece, -6.0) for piece in ["s", "ed", "ing", "er", "ful", ":", ".", ",", "?", "!"]]
    letters = sorted((set(CORPUS) | set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")) - set(" \n"))
    counted += [(c, -9.0) for c in letters if c not in "s:.,?!"]
    pieces = [(t, 0.0) for t in special] + counted
    pieces += [(t, -99.0) for t in filled([t for t, _ in pieces])[len(pieces) :]]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=512, eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


TOKENIZERS = {"wordpiece": wordpiece, "roberta": roberta, "bart": bart, "decoder": decoder, "unigram": unigram}


def labels(*names):
    return {"id2label": {str(i): n for i, n in enumerate(names)}, "label2id": {n: i for i, n in enumerate(names)}}


TASK_PARAMS = {
    "summarization": {
        "prefix": "summarize: ", "early_stopping": True, "length_penalty": 2.0, "max_length": 200, "min_length": 6,
        "no_repeat_ngram_size": 3, "num_beams": 4,
    },
    "translation_en_to_de": {"prefix": "translate English to German: ", "max_length": 300, "num_beams": 4, "early_stopping": True},
    "translation_en_to_fr": {"prefix": "translate English to French: ", "max_length": 300, "num_beams": 4, "early_stopping": True},
}  # fmt: skip

MODELS = {
    "bert-classify": {"tokenizer": "wordpiece", "config": labels("contradiction", "neutral", "entailment")},
    "bert-regression": {
        "checkpoint": "bert-classify", "tokenizer": "wordpiece", "config": {"problem_type": "regression"},
    },
    "distilbert-classify": {"tokenizer": "wordpiece"},
    "electra-classify": {"tokenizer": "wordpiece", "config": {"problem_type": "multi_label_classification"}},
    "roberta-classify": {"tokenizer": "roberta", "config": labels("entailment", "contradiction")},
    "bert-token": {
        "tokenizer": "wordpiece", "config": labels("O", "B-PER", "I-PER", "B-LOC", "I-LOC"),
        "tokenizer_config": {"model_max_length": 24},
    },
    "bert-mlm": {"tokenizer": "wordpiece"},
    "modernbert-mlm": {"tokenizer": "bart"},
    "roberta-qa": {"tokenizer": "roberta"},
    "llama": {"tokenizer": "decoder"},
    "qwen2": {"tokenizer": "decoder"},
    "gpt2": {"tokenizer": "decoder"},
    "t5": {"tokenizer": "unigram", "config": {"task_specific_params": TASK_PARAMS}},
    "bart": {"tokenizer": "bart"},
}  # fmt: skip


# The cases.

CAT = "The cat sat on the mat."
FILM = "I love this film, it is wonderful!"
BOOK = "I hate that book; it is boring, naïve and much too long 🙂."
ANNA = "Anna lives in Berlin and works for a small bakery near the river."
PAUL = "Her brother Paul lives in Paris; he plays the violin in an orchestra and travels to Rome in the summer."
LONG = f"{ANNA} {PAUL} {CAT} The weather was cold, but the children were happy."
STORY = " ".join(CORPUS.split())
PAIR = {"text": CAT, "text_pair": "The dog looked back."}
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where does Anna live?"}]


def case(model, inputs, **options):
    return {"model": model, "input": inputs, "options": options}


def question(text, context=LONG):
    return {"question": text, "context": context}


CASES = {
    "text-classification": [
        case("bert-classify", FILM),
        case("bert-classify", [FILM, BOOK, CAT]),
        case("bert-classify", [FILM], batch_size=4),
        case("bert-classify", [CAT, FILM, BOOK, ANNA, PAUL], batch_size=2),
        case("bert-classify", FILM, top_k=None),
        case("bert-classify", [FILM, BOOK], top_k=2),
        case("bert-classify", FILM, top_k=1),
        case("bert-classify", FILM, top_k=None, function_to_apply="sigmoid"),
        case("bert-classify", BOOK, top_k=None, function_to_apply="none"),
        case("bert-classify", BOOK, function_to_apply="softmax"),
        case("bert-classify", PAIR),
        case("bert-classify", [PAIR, {"text": FILM, "text_pair": BOOK}], top_k=None),
        case("bert-classify", LONG, truncation=True, max_length=12),
        case("bert-classify", {"text": ANNA, "text_pair": LONG}, truncation="only_second", max_length=24),
        case("bert-regression", [FILM, BOOK], top_k=None),
        case("distilbert-classify", [FILM, BOOK], top_k=None),
        case("electra-classify", [FILM, BOOK], top_k=None),
        case("electra-classify", PAIR, top_k=2),
        case("roberta-classify", [FILM, BOOK], top_k=None),
        case("roberta-classify", PAIR, top_k=None),
    ],
    "token-classification": [
        case("bert-token", ANNA),
        case("bert-token", [ANNA, BOOK]),
        case("bert-token", [ANNA]),
        case("bert-token", ANNA, ignore_labels=[]),
        case("bert-token", ANNA, ignore_labels=["B-PER", "I-LOC"]),
        *[
            case("bert-token", [ANNA, BOOK, PAUL], aggregation_strategy=strategy, ignore_labels=[])
            for strategy in ["none", "simple", "first", "average", "max"]
        ],
        case("bert-token", BOOK, aggregation_strategy="simple"),
        case("bert-token", ["Anna", "lives", "in", "Berlin."], is_split_into_words=True),
        case("bert-token", [ANNA.split(), BOOK.split()], is_split_into_words=True, aggregation_strategy="first", ignore_labels=[]),
        case("bert-token", [LONG.split()], is_split_into_words=True, delimiter="--", aggregation_strategy="simple", stride=4),
        case("bert-token", LONG, aggregation_strategy="simple", stride=4),
        case("bert-token", [LONG, ANNA], aggregation_strategy="first", stride=8, ignore_labels=[]),
    ],
    "fill-mask": [
        case("bert-mlm", "The [MASK] sat on the mat."),
        case("bert-mlm", "The [MASK] sat on the mat.", top_k=2),
        case("bert-mlm", ["The [MASK] sat.", "Anna lives in [MASK]."]),
        case("bert-mlm", ["The [MASK] sat."], top_k=3),
        case("bert-mlm", "The [MASK] sat on the [MASK].", top_k=3),
        case("bert-mlm", ["The [MASK] sat on the [MASK].", "A [MASK]."], top_k=2),
        case("bert-mlm", "The [MASK] sat.", targets=["cat", "dog", "children"]),
        case("bert-mlm", "The [MASK] sat.", targets=["dog", "wonderful", "cat"], top_k=2),
        case("bert-mlm", "The [MASK] sat.", targets="dog"),
        case("bert-mlm", f"A [MASK] {LONG}", top_k=2, tokenizer_kwargs={"truncation": True, "max_length": 16}),
        case("modernbert-mlm", "The <mask> sat on the mat."),
        case("modernbert-mlm", ["The<mask> sat.", "Anna lives in <mask>, she said."], top_k=3),
        case("modernbert-mlm", "The <mask> sat.", targets=[" cat", "dog"]),
    ],
    "feature-extraction": [
        case("bert-mlm", "the cat"),
        case("bert-mlm", ["the cat", "dogs"]),
        case("bert-mlm", "the cat sat on", tokenize_kwargs={"truncation": True, "max_length": 4}),
        case("bert-mlm", "cats", tokenize_kwargs={"padding": "max_length", "max_length": 5}),
        case("roberta-classify", "cats", truncation=True),
        case("llama", "cats"),
    ],
    "zero-shot-classification": [
        case("bert-classify", ANNA, candidate_labels=["travel", "food", "music"]),
        case("bert-classify", ANNA, candidate_labels="travel, food"),
        case("bert-classify", [ANNA, PAUL], candidate_labels=["travel", "food", "music"], multi_label=True),
        case("bert-classify", FILM, candidate_labels=["good", "bad"], hypothesis_template="It is {}!"),
        case("bert-classify", FILM, candidate_labels=["good"]),
        case("roberta-classify", [FILM], candidate_labels=["good", "bad", "long"], multi_label=True),
        case("roberta-classify", FILM, candidate_labels=["good", "bad", "long"], hypothesis_template="This is {}."),
    ],
    "text-generation": [
        case("llama", "The cat", generate={"max_new_tokens": 8, "do_sample": False}),
        case("llama", ["The cat", "Anna lives in"], generate={"max_new_tokens": 6, "do_sample": False}),
        case("llama", ["The cat", "Anna lives in"], batch_size=2, generate={"max_new_tokens": 6, "do_sample": False}),
        case("llama", "The cat", return_full_text=False, generate={"max_new_tokens": 8, "do_sample": False}),
        case("llama", CHAT, generate={"max_new_tokens": 8, "do_sample": False}),
        case("llama", [CHAT, CHAT[1:]], generate={"max_new_tokens": 5, "do_sample": False}),
        case("llama", CHAT, return_full_text=False, generate={"max_new_tokens": 5, "do_sample": False}),
        case(
            "llama", [*CHAT, {"role": "assistant", "content": "She lives"}],
            generate={"max_new_tokens": 5, "do_sample": False},
        ),
        case(
            "qwen2", "Every morning she",
            generate={"max_new_tokens": 6, "do_sample": False, "num_beams": 4, "num_return_sequences": 3},
        ),
        case("qwen2", ["The cat", "A"], generate={"max_new_tokens": 5, "do_sample": False, "num_beams": 2}),
        case("qwen2", "The cat", generate={"max_length": 10, "do_sample": False, "repetition_penalty": 1.3}),
        case("gpt2", "The cat", add_special_tokens=False, generate={"max_new_tokens": 6, "do_sample": False}),
    ],
    "question-answering": [
        case("roberta-qa", question("Where does Anna live?", ANNA)),
        case("roberta-qa", [question("Where does Anna live?", ANNA), question("Who plays the violin?", PAUL)]),
        case("roberta-qa", [question("Where does Anna live?", ANNA)]),
        case("roberta-qa", {"question": ["Where does Anna live?", "Where does she work?"], "context": ANNA}),
        case("roberta-qa", question("Where does Paul live?"), top_k=3),
        case("roberta-qa", question("Where does Paul live?", CAT), top_k=2, handle_impossible_answer=True),
        case("roberta-qa", question("Where does Paul live?"), handle_impossible_answer=True, top_k=4),
        case("roberta-qa", question("Where does Paul live?"), max_answer_len=3, top_k=3),
        case("roberta-qa", question("Where does Paul live?"), align_to_words=False, top_k=3),
        case("roberta-qa", question("Where does Paul live?"), max_seq_len=48, doc_stride=12, top_k=3),
        case("roberta-qa", question("Where does Paul live?"), max_seq_len=40, doc_stride=4, handle_impossible_answer=True, top_k=3),
        case("roberta-qa", question("What is the capital of France?", STORY), top_k=3),
        case("roberta-qa", question("What is the capital of France?", STORY), max_seq_len=64),
        case("roberta-qa", question("Is it naïve?", BOOK), top_k=2),
    ],
    "text2text-generation": [
        case("t5", CAT, generate={"max_new_tokens": 8}),
        case("t5", [CAT, FILM], generate={"max_new_tokens": 6, "num_beams": 1}),
        case("t5", CAT, generate={"max_new_tokens": 6, "num_beams": 4, "num_return_sequences": 3}),
        case("t5", [CAT, LONG, FILM], batch_size=2, generate={"max_new_tokens": 6, "num_beams": 2}),
        case("t5", [CAT, FILM], generate={"max_new_tokens": 6, "num_return_sequences": 2}),
        case("bart", ANNA, generate={"max_new_tokens": 8, "no_repeat_ngram_size": 2}),
        case("bart", STORY, truncation=True, generate={"max_new_tokens": 6, "num_beams": 1, "no_repeat_ngram_size": 2}),
    ],
    "summarization": [
        case("t5", LONG, generate={"max_new_tokens": 12}),
        case("t5", [CAT, LONG], generate={"max_new_tokens": 10, "min_length": 2}),
        case("bart", [CAT, LONG], generate={"max_new_tokens": 8, "min_length": 4, "repetition_penalty": 1.5}),
    ],
    "translation": [
        case("t5", CAT, generate={"max_new_tokens": 8}),
        case("bart", [CAT, FILM], generate={"max_new_tokens": 8, "no_repeat_ngram_size": 1}),
    ],
    "translation_en_to_fr": [
        case("t5", [CAT, FILM], generate={"max_new_tokens": 8}),
        case("t5", FILM, generate={"max_new_tokens": 8, "num_beams": 1}),
    ],
}  # fmt: skip


def encoding(texts, pairs=None, **options):
    return {"texts": texts, "pairs": pairs, "options": options}


def encodings(special):
    """Cases for any tokenizer; `special` is the number of tokens that it adds to a pair."""
    few = [CAT, BOOK, "", PAUL]
    shortest = 6 + special
    both = [ANNA, CAT], [CAT, PAUL]
    return [
        encoding(few),
        encoding(few, add_special_tokens=False),
        encoding(*both),
        encoding(few, truncation=True, max_length=10),
        encoding(few, truncation=True),
        encoding(few, padding=True),
        encoding(few, padding=True, truncation=True, max_length=16, pad_to_multiple_of=8),
        encoding(few, padding="max_length", truncation=True, max_length=12),
        encoding(few, padding="max_length", max_length=8),
        encoding(few[:3], padding="longest", padding_side="left"),
        encoding(few[:3], padding="longest", padding_side="right", pad_to_multiple_of=5),
        encoding([PAUL, CAT], truncation=True, max_length=12, stride=3, return_overflowing_tokens=True),
        encoding([PAUL, CAT], truncation=True, max_length=12, stride=3, return_overflowing_tokens=True, padding="max_length"),
        encoding(*both, truncation="longest_first", max_length=20),
        encoding([PAUL, ANNA], [CAT, CAT], truncation="only_first", max_length=shortest + 30),
        encoding([CAT, CAT], [ANNA, PAUL], truncation="only_second", max_length=shortest + 30, padding=True),
        encoding([CAT], [PAUL], truncation="only_second", max_length=shortest + 24, stride=6, return_overflowing_tokens=True),
        encoding([CAT], [PAUL], truncation="only_second", max_length=shortest + 24, stride=6, return_overflowing_tokens=True, padding=True),
        encoding([PAUL], [CAT], truncation="only_first", max_length=shortest + 24, stride=2, return_overflowing_tokens=True),
        encoding([PAUL], truncation=True, max_length=9, add_special_tokens=False),
        encoding([PAUL], truncation=True, max_length=9, truncation_side="left"),
        encoding([CAT.split(), ["naïve", "books", "🙂"]], is_split_into_words=True),
        encoding([CAT.split(), PAUL.split()], is_split_into_words=True, truncation=True, max_length=12, padding=True),
    ]  # fmt: skip


def rounded(value, digits=7):
    if isinstance(value, dict):
        return {str(k): rounded(v, digits) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(v, digits) for v in value]
    if hasattr(value, "item"):
        return rounded(value.item(), digits)
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def checkpoint(name, folder):
    """A folder with a model of the list."""
    model = MODELS[name]
    source = os.path.join(HERE, model.get("checkpoint", name))
    for file in ["config.json", "generation_config.json", "model.safetensors"]:
        if os.path.exists(os.path.join(source, file)):
            shutil.copy(os.path.join(source, file), folder)
    tokenizer = os.path.join(HERE, "tokenizers", model["tokenizer"])
    for file in os.listdir(tokenizer):
        shutil.copy(os.path.join(tokenizer, file), folder)
    for file in ["config", "tokenizer_config"]:
        path = os.path.join(folder, f"{file}.json")
        fields = json.load(open(path))
        json.dump(fields | model.get(file, {}), open(path, "w"))


def run(task, one):
    """What the pipeline gives for a case."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint(one["model"], folder)
        options = {k: v for k, v in one["options"].items() if k != "generate"} | one["options"].get("generate", {})
        # Some give the words of an option to the tokenizer and take them out: nothing of the case is to change.
        options = json.loads(json.dumps(options))
        kwargs = {"model_kwargs": {"attn_implementation": "eager"}}
        kwargs["tokenizer"] = PreTrainedTokenizerFast.from_pretrained(folder)
        runs = pipeline(task, model=folder, device="cpu", dtype=torch.float32, **kwargs)
        inputs = json.loads(json.dumps(one["input"]))
        if task == "question-answering" and isinstance(inputs, dict):
            return runs(**inputs, **options)
        return runs(inputs, **options)


def encode(tokenizer, one):
    options = dict(one["options"])
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer)
    tokenizer.truncation_side = options.pop("truncation_side", tokenizer.truncation_side)
    fields = tokenizer(
        one["texts"], one["pairs"], return_token_type_ids=True, return_attention_mask=True, return_offsets_mapping=True,
        return_special_tokens_mask=True, **options,
    )  # fmt: skip
    output = dict(fields)
    output["sequence_ids"] = [fields.sequence_ids(i) for i in range(len(fields["input_ids"]))]
    output["word_ids"] = [fields.word_ids(i) for i in range(len(fields["input_ids"]))]
    return output


def main():
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    path = os.path.join(HERE, "pipelines.json")
    first = transformers.__version__.startswith("5.")
    golden = {"models": MODELS, "pipelines": {}, "tokenizers": {}}
    if first:
        for name, make in TOKENIZERS.items():
            folder = os.path.join(HERE, "tokenizers", name)
            shutil.rmtree(folder, ignore_errors=True)
            make().save_pretrained(folder)
            added = {"wordpiece": 3, "roberta": 4, "decoder": 1, "unigram": 2}.get(name)
            if added is not None:  # BART's differs from RoBERTa's by its ids alone.
                golden["tokenizers"][name] = [one | {"output": encode(folder, one)} for one in encodings(added)]
    else:
        golden = json.load(open(path))
    for task, cases in CASES.items():
        known = task in SUPPORTED_TASKS or (task.startswith("translation") and "translation" in SUPPORTED_TASKS)
        if known and (first or task not in golden["pipelines"]):
            print(task, file=sys.stderr)
            golden["pipelines"][task] = [one | {"output": rounded(run(task, one))} for one in cases]
    with open(path, "w", encoding="utf-8") as file:
        write(file, golden)


def write(file, golden):
    """JSON with a case on a line."""
    dumps = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))  # noqa: E731
    lists = lambda part: ",\n".join(f"{dumps(k)}:[\n" + ",\n".join(map(dumps, v)) + "\n]" for k, v in part.items())  # noqa: E731
    file.write('{"models":' + dumps(golden["models"]) + ',\n"pipelines":{\n' + lists(golden["pipelines"]))
    file.write('\n},\n"tokenizers":{\n' + lists(golden["tokenizers"]) + "\n}}\n")


main()
