//! Auto classes: what they give, what they refuse, and what they save.

use super::{Fixture, goldens, message, text};
use crate::options;
use kiln::{
    AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification, AutoTokenizer, GenerationConfig, ModelFiles, PretrainedOptions, Task,
    TensorView,
};
use kiln_models::source::TOKENIZER;

#[test]
fn classes_say_what_they_are_for() {
    let goldens = goldens();
    let fixture = Fixture::new(&goldens, "bert-classify", Task::SequenceClassification);
    let folder = text(fixture.folder.path());
    let options = PretrainedOptions { emit: options().emit, ..PretrainedOptions::default() };
    let headless = message(AutoModelForMaskedLM::from_pretrained_with(&folder, &options));
    assert!(headless.contains("no head for masked language modelling"), "{headless}");
    assert_eq!(AutoConfig::from_pretrained(&folder).expect("a config")["model_type"], "bert");
    for model in [&folder, &fixture.artifact] {
        let tokenizer = AutoTokenizer::from_pretrained(model).expect("a tokenizer");
        assert_eq!(tokenizer.model_max_length(), Some(256), "{model}");
        assert_eq!(tokenizer.special_token("mask_token"), Some((4, "[MASK]".into())), "{model}");
    }

    // A copied artifact may be cut off; a mapped one would end the program.
    let cut = text(&fixture.folder.path().join("cut.kiln"));
    std::fs::copy(&fixture.artifact, &cut).expect("copies");
    let copied = PretrainedOptions { copy: true, ..PretrainedOptions::default() };
    let model = AutoModelForSequenceClassification::from_pretrained_with(&cut, &copied).expect("loads");
    std::fs::File::create(&cut).expect("cuts");
    let ids = [0i64, 2];
    model.forward(&[("input_ids", TensorView::new(&[1, 2], &ids))]).expect("runs");

    let other = message(AutoModelForMaskedLM::from_pretrained(&fixture.artifact));
    assert!(other.contains("AutoModelForSequenceClassification, expected AutoModelForMaskedLM"), "{other}");
    let model = AutoModelForSequenceClassification::from_pretrained(&fixture.artifact).expect("loads");
    assert_eq!((model.num_labels(), model.id2label()[2].as_str()), (3, "entailment"));
    let ids = [0i64, 2];
    let output = model.forward(&[("input_ids", TensorView::new(&[1, 2], &ids))]).expect("runs");
    assert!(message(output.get("hidden")).contains("expected one of logits"));
    let logits = output.get("logits").expect("logits");
    assert_eq!(logits.shape, [1, 3]);
    assert_eq!(logits.as_slice::<f32>().expect("f32"), logits.to_f32_vec());
    let unsaved = message(model.save_pretrained(fixture.folder.path().join("saved")));
    assert!(unsaved.contains("is an artifact") && unsaved.contains("load the model"), "{unsaved}");
}

/// Saved from a folder, read again, and the same: also the options of generating, where `config.json` alone has them.
#[test]
fn what_is_saved_is_read() {
    let source = Fixture::folder(&goldens()["models"]["llama"], "llama");
    std::fs::remove_file(source.path().join("generation_config.json")).expect("removes");
    let artifacts_dir = Some(source.path().join("artifacts"));
    let options = PretrainedOptions { emit: options().emit, artifacts_dir, ..PretrainedOptions::default() };
    let model = AutoModelForCausalLM::from_pretrained_with(&text(source.path()), &options).expect("loads");
    let own = model.generation_config();
    assert_eq!((own.eos_token_ids(), own.bos_token_id, own.pad_token_id()), (&[2][..], Some(1), 0));
    let target = source.path().join("saved");
    model.save_pretrained(&target).expect("saves");

    let again = AutoModelForCausalLM::from_pretrained_with(&text(&target), &options).expect("loads");
    let config = GenerationConfig { max_new_tokens: Some(6), ..Default::default() };
    let write = |model: &AutoModelForCausalLM| model.generate("The cat", &config, |_| ()).expect("generates").rows;
    assert_eq!(write(&again)[0].token_ids, write(&model)[0].token_ids);
    let chat = kiln::Chat::new().with_message("user", "Hello");
    let prompt = |model: &AutoModelForCausalLM| model.apply_chat_template(&chat, true).expect("a template");
    assert_eq!(prompt(&again), prompt(&model));

    let tokenizer = AutoTokenizer::from_pretrained(&text(&target)).expect("a tokenizer");
    let alone = source.path().join("tokenizer");
    tokenizer.save_pretrained(&alone).expect("saves");
    std::fs::copy(target.join("config.json"), alone.join("config.json")).expect("copies");
    std::fs::copy(target.join("model.safetensors"), alone.join("model.safetensors")).expect("copies");
    let reread = AutoTokenizer::from_pretrained(&text(&alone)).expect("a tokenizer");
    let ids = |t: &kiln::Tokenizer| t.encode("The cat sat.", true).expect("encodes");
    assert_eq!(ids(&reread), ids(&tokenizer));
    assert_eq!(reread.padding_side(), tokenizer.padding_side());
}

/// A vocabulary of an older form, and options that only the config has, are in the artifact.
#[test]
fn tokenizers_of_older_files_are_in_the_artifact() {
    let goldens = goldens();
    let whole = Fixture::new(&goldens, "bert-classify", Task::SequenceClassification);
    let folder = Fixture::folder(&goldens["models"]["bert-classify"], "bert-classify");
    let json = std::fs::read(folder.path().join("tokenizer.json")).expect("reads");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    let vocabulary = json["model"]["vocab"].as_object().expect("a vocabulary");
    let mut words: Vec<_> = vocabulary.iter().map(|(word, id)| (id.as_u64(), word.as_str())).collect();
    words.sort_unstable();
    let words: Vec<&str> = words.into_iter().map(|(_, word)| word).collect();
    std::fs::remove_file(folder.path().join("tokenizer.json")).expect("removes");
    std::fs::write(folder.path().join("vocab.txt"), words.join("\n")).expect("writes");
    let config = r#"{"tokenizer_class": "BertTokenizer", "do_lower_case": true, "additional_special_tokens": ["cat"]}"#;
    std::fs::write(folder.path().join("tokenizer_config.json"), config).expect("writes");
    let artifact = folder.path().join("model.kiln");
    let files = ModelFiles::open_folder(folder.path()).expect("opens");
    kiln::compile(&files, &artifact, &options()).expect("compiles");

    let want = AutoTokenizer::from_pretrained(&whole.artifact).expect("a tokenizer");
    for model in [folder.path(), &artifact] {
        let tokenizer = AutoTokenizer::from_pretrained(&text(model)).expect("a tokenizer");
        let ids = |t: &kiln::Tokenizer, text: &str| t.encode(text, true).expect("encodes");
        for sentence in ["", "The dog sat.", "I LOVE this film, it is wonderful! [MASK]", "the cat"] {
            assert_eq!(ids(&tokenizer, sentence), ids(&want, sentence), "{sentence}");
        }
        let cat = ids(&tokenizer, "the cat");
        assert_eq!(tokenizer.decode(&cat, true).expect("decodes"), "the", "a special token now");
        assert!(tokenizer.gives("token_type_ids"));
    }
}

#[test]
fn encoder_decoders_have_a_class() {
    let goldens = goldens();
    let fixture = Fixture::new(&goldens, "t5", Task::Seq2SeqLm);
    let model = AutoModelForSeq2SeqLM::from_pretrained(&fixture.artifact).expect("loads");
    let config = GenerationConfig { max_new_tokens: Some(4), ..model.generation_config().clone() };
    let output = model.generate("the cat", &config, |_| ()).expect("generates");
    assert!(!output.rows[0].token_ids.is_empty());
    let other = message(AutoModelForCausalLM::from_pretrained(&fixture.artifact));
    assert!(other.contains("AutoModelForSeq2SeqLM, expected AutoModelForCausalLM"), "{other}");
    let files = ModelFiles::open_folder(fixture.folder.path()).expect("opens");
    assert!(files.processors.get(TOKENIZER).is_some());
    let body = message(AutoModel::from_pretrained(&fixture.artifact));
    assert!(body.contains("expected AutoModel"), "{body}");
}
