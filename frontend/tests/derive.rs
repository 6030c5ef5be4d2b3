//! `#[derive(Module)]`: names are the paths of fields.

use kiln_frontend::{Module, Param, Path, nn};

#[derive(Module)]
struct Model<H: Send> {
    embed: nn::Embedding,
    layers: Vec<Layer>,
    head: Option<H>,
    eps: f64,
    #[module(skip)]
    _note: Note,
}

struct Note;

#[derive(Module)]
struct Layer {
    #[module(rename = "LayerNorm")]
    norm: nn::LayerNorm,
    r#type: Box<nn::Linear>,
}

#[derive(Module)]
struct Nothing {}

fn model(head: bool) -> Model<nn::Linear> {
    let layer = || Layer { norm: nn::LayerNorm::new(4, 1e-5), r#type: Box::new(nn::Linear::new(4, 8, false)) };
    Model {
        embed: nn::Embedding::new(10, 4),
        layers: vec![layer(), layer()],
        head: head.then(|| nn::Linear::new(4, 10, true)),
        eps: 1e-5,
        _note: Note,
    }
}

#[test]
fn parameters_have_the_paths_of_their_fields() {
    let model = model(true);
    let found: Vec<(String, Vec<usize>)> =
        model.parameters().into_iter().map(|(name, p)| (name, p.shape().to_vec())).collect();
    let expected: [(&str, &[usize]); 9] = [
        ("embed.weight", &[10, 4]),
        ("layers.0.LayerNorm.weight", &[4]),
        ("layers.0.LayerNorm.bias", &[4]),
        ("layers.0.type.weight", &[8, 4]),
        ("layers.1.LayerNorm.weight", &[4]),
        ("layers.1.LayerNorm.bias", &[4]),
        ("layers.1.type.weight", &[8, 4]),
        ("head.weight", &[10, 4]),
        ("head.bias", &[10]),
    ];
    assert_eq!(found, expected.map(|(name, shape)| (name.to_string(), shape.to_vec())));
    assert_eq!(model.eps, 1e-5);
}

#[test]
fn the_mutable_walk_is_the_same_walk() {
    let mut model = model(false);
    let names: Vec<String> = model.parameters().into_iter().map(|(name, _)| name).collect();
    let mut seen = vec![];
    model.visit_params_mut(&mut Path::default(), &mut |name, param| {
        *param = Param::new([1]);
        seen.push(name.to_string());
    });
    assert_eq!(seen, names);
    assert!(model.parameters().iter().all(|(_, p)| p.shape() == [1]));
    assert!(Nothing {}.parameters().is_empty());
}
