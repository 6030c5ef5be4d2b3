//! The encoders, traced and evaluated by the interpreter, against what transformers computes.

use crate::support::traced::{Model, Tensors, edited, i64s, named, recorded, renamed};
use crate::support::{assert_says, folder, golden};
use kiln_ir::interp::{Tensor, relative_error};
use kiln_models::auto::{TraceOptions, trace};
use kiln_models::source::ModelFiles;
use kiln_models::{Result, Task};
use serde_json::{Value, json};
use std::path::Path;

const GOLDENS: [&str; 8] = [
    "bert-classify",
    "bert-mlm",
    "bert-token",
    "distilbert-classify",
    "electra-classify",
    "modernbert-mlm",
    "roberta-classify",
    "roberta-qa",
];

#[track_caller]
fn assert_close(got: &Tensor, want: &Tensor, what: &str) {
    let error = relative_error(got, want);
    assert!(error < 1e-4, "{what}: {error:e}");
}

#[test]
fn heads_give_what_transformers_gives() {
    for name in GOLDENS {
        let (got, want) = (Model::golden(name).forward(&recorded(name, "in.")), recorded(name, "out."));
        assert_eq!(got.keys().collect::<Vec<_>>(), want.keys().collect::<Vec<_>>(), "{name}");
        want.iter().for_each(|(output, want)| assert_close(&got[output], want, &format!("{name} {output}")));
    }
}

#[test]
fn every_tensor_of_a_golden_is_used() {
    for name in GOLDENS {
        assert_eq!(Model::golden(name).traced.unused_tensors, [""; 0], "{name}");
    }
}

#[test]
fn layers_are_one_function_of_each_kind() {
    for (name, functions) in [
        ("bert-mlm", &["forward.layer", "forward"][..]),
        // The first layer has no norm before its attention.
        ("modernbert-mlm", &["forward.layer", "forward.local_layer", "forward.layer.2", "forward"][..]),
    ] {
        let model = Model::golden(name);
        let names: Vec<&str> = model.traced.module.functions.iter().map(|f| &*f.name).collect();
        assert_eq!(names, functions, "{name}");
    }
}

fn traced(folder: &Path, task: Task) -> Result<Model> {
    let ModelFiles { config, checkpoint, .. } = ModelFiles::open_folder(folder)?;
    let traced = trace(Some(task), &config, &checkpoint, &TraceOptions::default())?;
    Ok(Model { config, checkpoint, traced })
}

#[test]
fn a_body_comes_from_a_model_with_a_head_and_from_one_without() {
    for (name, prefix) in [
        ("bert-classify", "bert."),
        ("distilbert-classify", "distilbert."),
        ("electra-classify", "electra."),
        ("roberta-classify", "roberta."),
        ("modernbert-mlm", "model."),
    ] {
        let inputs = recorded(name, "in.");
        let with_head = Model::changed(name, Some(Task::Base), |_| ()).unwrap();
        let hidden = with_head.forward(&inputs);
        let bare = folder();
        renamed(name, bare.path(), |n| n.strip_prefix(prefix).map(str::to_string).into_iter().collect());
        let bare = traced(bare.path(), Task::Base).unwrap();
        assert_eq!(bare.traced.unused_tensors, [""; 0], "{name}");
        assert_eq!(bare.forward(&inputs), hidden, "{name}");
        // With the prefix before all names once more.
        let wrapped = folder();
        renamed(name, wrapped.path(), |n| vec![format!("{prefix}{n}")]);
        let wrapped = traced(wrapped.path(), Task::Base).unwrap();
        assert_eq!(wrapped.forward(&inputs), hidden, "{name}");
        assert_eq!(hidden["last_hidden_state"].shape(), [2, 17, 64]);
        assert_eq!(hidden.contains_key("pooler_output"), name == "bert-classify", "{name}");
    }
}

#[test]
fn a_body_agrees_with_the_head_on_it() {
    let inputs = recorded("bert-classify", "in.");
    let base = Model::changed("bert-classify", Some(Task::Base), |_| ()).unwrap();
    let pooled = base.forward(&inputs)["pooler_output"].to_f32_vec();
    let parameter = |name: &str| base.checkpoint.to_f32(name).unwrap();
    let (weight, bias) = (parameter("classifier.weight"), parameter("classifier.bias"));
    let logit = |row: &[f32], label: usize| {
        let products = row.iter().zip(&weight[label * 64..]).map(|(x, w)| x * w);
        products.sum::<f32>() + bias[label]
    };
    let logits: Vec<f32> =
        pooled.chunks(64).flat_map(|row| (0..3).map(|label| logit(row, label)).collect::<Vec<_>>()).collect();
    let logits = Tensor::from_f32([2, 3], &logits).unwrap();
    assert_close(&logits, &recorded("bert-classify", "out.")["logits"], "by hand");
}

#[test]
fn old_names_of_layer_norms_are_understood() {
    let old = folder();
    renamed("bert-mlm", old.path(), |n| {
        vec![n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")]
    });
    let model = traced(old.path(), Task::MaskedLm).unwrap();
    assert_eq!(model.traced.unused_tensors, [""; 0]);
    let want = &recorded("bert-mlm", "out.")["logits"];
    assert_close(&model.forward(&recorded("bert-mlm", "in."))["logits"], want, "gamma and beta");
}

#[test]
fn an_output_projection_of_its_own_is_used_where_nothing_is_tied() {
    for (name, words, projection) in [
        ("bert-mlm", "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"),
        ("modernbert-mlm", "model.embeddings.tok_embeddings.weight", "decoder.weight"),
    ] {
        let untied = |config: &mut Value| config["tie_word_embeddings"] = false.into();
        assert_says(Model::changed(name, None, untied).map(|m| m.traced), &["has no head for masked", projection]);
        // The embedding under both names: what is tied, written out.
        let both = folder();
        renamed(name, both.path(), |n| match n == words {
            true => vec![n.to_string(), projection.to_string()],
            false => vec![n.to_string()],
        });
        let ModelFiles { mut config, checkpoint, .. } = ModelFiles::open_folder(both.path()).unwrap();
        untied(&mut config);
        let options = TraceOptions::default();
        let traced = trace(None, &config, &checkpoint, &options).unwrap();
        assert_eq!(traced.unused_tensors, [""; 0], "{name}");
        let model = Model { config, checkpoint, traced };
        assert_close(&model.forward(&recorded(name, "in."))["logits"], &recorded(name, "out.")["logits"], name);
    }
}

#[test]
fn defaults_of_inputs_are_those_of_transformers() {
    let model = Model::golden("bert-classify");
    let ids = recorded("bert-classify", "in.")["input_ids"].clone();
    let only_ids = Tensors::from([("input_ids".to_string(), ids)]);
    let mut given = only_ids.clone();
    given.insert("attention_mask".into(), i64s([2, 17], &[1; 34]));
    given.insert("token_type_ids".into(), i64s([2, 17], &[0; 34]));
    given.insert("position_ids".into(), i64s([2, 17], &[(0..17).collect::<Vec<_>>(), (0..17).collect()].concat()));
    assert_eq!(model.forward(&only_ids), model.forward(&given));
    given.insert("token_type_ids".into(), i64s([2, 17], &[1; 34]));
    assert_ne!(model.forward(&only_ids), model.forward(&given));
}

#[test]
fn roberta_counts_positions_without_padding() {
    // Two tokens of padding before a text move nothing, as long as nobody sees them.
    let model = Model::changed("roberta-classify", Some(Task::Base), |_| ()).unwrap();
    let run = |ids: &[i64], mask: &[i64]| {
        let inputs = [("input_ids", ids), ("attention_mask", mask)];
        let inputs = inputs.map(|(name, values)| (name.to_string(), i64s([1, values.len()], values)));
        model.forward(&Tensors::from(inputs))["last_hidden_state"].to_f32_vec()
    };
    let alone = run(&[5, 6, 7], &[1, 1, 1]);
    let padded = run(&[1, 1, 5, 6, 7], &[0, 0, 1, 1, 1]);
    let tensor = |values: &[f32]| Tensor::from_f32([values.len()], values).unwrap();
    assert_close(&tensor(&padded[2 * 64..]), &tensor(&alone), "padded");
}

#[test]
fn without_a_token_for_padding_roberta_counts_from_0() {
    let model = Model::changed("roberta-qa", Some(Task::Base), |c| c["pad_token_id"] = json!(-1)).unwrap();
    assert_eq!(model.traced.max_seq, 256, "no position is left out");
    // Each token is that of the golden's model two places later: the rows of its table from 2 on serve the first one there.
    let shifted = folder();
    edited("roberta-qa", shifted.path(), |tensors| {
        let table = tensors.get_mut("roberta.embeddings.position_embeddings.weight").unwrap();
        table.1.rotate_left(2 * 64);
    });
    let ModelFiles { mut config, checkpoint, .. } = ModelFiles::open_folder(shifted.path()).unwrap();
    config["pad_token_id"] = json!(-1);
    let traced = trace(None, &config, &checkpoint, &TraceOptions::default()).unwrap();
    let model = Model { config, checkpoint, traced };
    let ids = named([("input_ids", i64s([1, 4], &[5, 6, 7, 8]))]);
    let want = Model::golden("roberta-qa").forward(&ids);
    assert_close(&model.forward(&ids)["start_logits"], &want["start_logits"], "from 0");
}

#[test]
fn xlm_roberta_is_roberta() {
    let model = Model::changed("roberta-qa", None, |c| {
        c["model_type"] = "xlm-roberta".into();
        c["architectures"] = json!(["XLMRobertaForQuestionAnswering"]);
    });
    let got = model.unwrap().forward(&recorded("roberta-qa", "in."));
    assert_close(&got["start_logits"], &recorded("roberta-qa", "out.")["start_logits"], "start_logits");
}

#[test]
fn configs_of_transformers_4_say_the_same() {
    let old = Model::changed("modernbert-mlm", None, |c| {
        let fields = c.as_object_mut().unwrap();
        fields.remove("layer_types");
        fields.remove("rope_parameters");
        fields.extend([
            ("global_rope_theta".to_string(), json!(160000.0)),
            ("local_rope_theta".to_string(), json!(10000.0)),
        ]);
    });
    let want = &recorded("modernbert-mlm", "out.")["logits"];
    assert_close(&old.unwrap().forward(&recorded("modernbert-mlm", "in."))["logits"], want, "logits");
}

#[test]
fn modernbert_pools_for_its_classifier() {
    let parts = folder();
    // Any weights of the right shapes serve: what is compared are two ways of pooling.
    renamed("modernbert-mlm", parts.path(), |n| match n {
        "model.layers.3.attn.Wo.weight" => vec!["classifier.weight".into()],
        "model.layers.3.attn_norm.weight" => vec!["classifier.bias".into()],
        _ if n.starts_with("model.layers.3.") => vec![],
        _ => vec![n.to_string()],
    });
    let logits = |pooling: &str, mask: &[i64]| {
        let ModelFiles { mut config, checkpoint, .. } = ModelFiles::open_folder(parts.path()).unwrap();
        for (field, value) in [
            ("classifier_pooling", json!(pooling)),
            ("num_labels", json!(64)),
            ("num_hidden_layers", json!(3)),
            ("layer_types", Value::Null),
        ] {
            config[field] = value;
        }
        let task = Some(Task::SequenceClassification);
        let traced = trace(task, &config, &checkpoint, &TraceOptions::default()).unwrap();
        assert_eq!(traced.unused_tensors, ["decoder.bias"]);
        let model = Model { config, checkpoint, traced };
        let inputs = [("input_ids", &[9, 8, 7][..mask.len()]), ("attention_mask", mask)];
        let inputs = inputs.map(|(name, values)| (name.to_string(), i64s([1, mask.len()], values)));
        model.forward(&Tensors::from(inputs))["logits"].clone()
    };
    assert_eq!(logits("cls", &[1]), logits("mean", &[1]));
    assert_ne!(logits("cls", &[1, 1]), logits("mean", &[1, 1]));
    assert_close(&logits("mean", &[1, 1, 0]), &logits("mean", &[1, 1]), "padded");
}

#[test]
fn a_missing_head_is_named() {
    let refused = |name: &str, task: Task, says: &[&str]| {
        assert_says(Model::changed(name, Some(task), |_| ()).map(|m| m.traced), says);
    };
    refused("bert-mlm", Task::TokenClassification, &["no head for token classification", "`classifier.weight`"]);
    refused("bert-mlm", Task::SequenceClassification, &["no head for sequence", "`bert.pooler.dense.weight`"]);
    refused("bert-classify", Task::MaskedLm, &["no head for masked language", "`cls.predictions.bias`"]);
    refused("distilbert-classify", Task::QuestionAnswering, &["`qa_outputs.weight`, `qa_outputs.bias`"]);
    refused("roberta-qa", Task::SequenceClassification, &["no head for sequence", "`classifier.dense.weight`"]);
    refused("electra-classify", Task::MaskedLm, &["no head for masked", "`generator_lm_head.bias`"]);
    refused("modernbert-mlm", Task::TokenClassification, &["no head for token", "`classifier.weight`"]);
    refused("bert-mlm", Task::CausalLm, &["AutoModelForCausalLM", "AutoModelForMaskedLM"]);
    // A body that lacks something is another matter.
    let deeper = Model::changed("bert-mlm", None, |c| c["num_hidden_layers"] = 3.into());
    assert_says(deeper.map(|m| m.traced), &["config and checkpoint do not belong together", "encoder.layer.2."]);
}

#[test]
fn sequences_are_no_longer_than_there_are_positions() {
    for (name, longest) in [("bert-mlm", 256), ("roberta-qa", 254)] {
        let ModelFiles { config, checkpoint, .. } = ModelFiles::open_folder(&golden(name)).unwrap();
        let traced = |max_seq| trace(None, &config, &checkpoint, &TraceOptions { max_seq, ..TraceOptions::default() });
        assert_eq!(traced(None).unwrap().max_seq, longest);
        assert_eq!(traced(Some(10)).unwrap().max_seq, 10);
        let message = format!("from 1 to {longest}, as many as the model has positions for, found {}", longest + 1);
        assert_says(traced(Some(longest as usize + 1)), &["`max_seq`", &message]);
    }
}

#[test]
fn bad_configs_are_refused() {
    let cases = [
        ("bert-mlm", "hidden_size", json!(66), &["hidden_size 66 is no multiple of num_attention_heads 4"][..]),
        ("bert-mlm", "hidden_size", Value::Null, &["config of `bert` lacks the field `hidden_size`"]),
        ("bert-mlm", "num_hidden_layers", json!(1e12), &["`num_hidden_layers`", "from 1 to 10000"]),
        ("bert-mlm", "hidden_act", json!("mish"), &["`hidden_act`", "mish"]),
        ("bert-mlm", "is_decoder", json!(true), &["`is_decoder`", "only encoders"]),
        ("bert-mlm", "position_embedding_type", json!("relative_key"), &["expected absolute", "relative_key"]),
        ("bert-token", "id2label", json!(["a"]), &["`id2label`", "an object"]),
        ("electra-classify", "embedding_size", json!(0), &["config of `electra`", "`embedding_size`"]),
        ("roberta-qa", "max_position_embeddings", json!(2), &["max_position_embeddings is 2", "pad_token_id + 1 = 2"]),
        ("roberta-qa", "pad_token_id", json!(999), &["`pad_token_id`", "0 to 383"]),
        ("distilbert-classify", "n_heads", json!(5), &["dim 64 is no multiple of n_heads 5"]),
        ("modernbert-mlm", "num_attention_heads", json!(64), &["needs an even head"]),
        ("modernbert-mlm", "classifier_pooling", json!("max"), &["expected cls or mean", "max"]),
        ("modernbert-mlm", "layer_types", json!(["full_attention"]), &["layer_types has 1", "num_hidden_layers is 4"]),
        (
            "modernbert-mlm",
            "rope_parameters",
            json!({"full_attention": {"rope_type": "yarn"}}),
            &["full_attention.rope_type", "yarn"],
        ),
    ];
    for (name, field, value, says) in cases {
        assert_says(Model::changed(name, None, |c| c[field] = value).map(|m| m.traced), says);
    }
}

#[test]
fn the_number_of_classes_is_that_of_the_labels() {
    let labels = |change: &dyn Fn(&mut Value)| Model::changed("bert-token", None, change).map(|m| m.traced);
    assert!(labels(&|c| c["num_labels"] = 9.into()).is_ok(), "id2label comes first");
    let without = |c: &mut Value| c["id2label"] = Value::Null;
    assert_says(labels(&without), &["`classifier.weight`", "[2, 64]", "[5, 64]"]);
    assert!(labels(&|c| (without(c), c["num_labels"] = 5.into()).1).is_ok());
}
