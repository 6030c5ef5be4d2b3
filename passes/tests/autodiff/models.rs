//! The gradients of whole models against central differences: every golden checkpoint that has a loss.

use super::{difference, in_f64, slope};
use crate::models::{folder, goldens};
use kiln_ir::interp::{self, Tensor};
use kiln_ir::sample::Random;
use kiln_ir::{ArgKind, DType, Function};
use kiln_models::auto::{TraceOptions, trace};
use kiln_models::loss::Training;
use kiln_models::source::ModelFiles;
use kiln_passes::autodiff::{Autodiff, autodiff};

/// Two sequences, the second shorter, and labels for them.
fn input(f: &Function, i: usize, random: &mut Random) -> Tensor {
    let arg = &f.args[i];
    let size = |d: &kiln_ir::Dim| match d.as_const() {
        Some(n) => n as usize,
        None if d.to_string() == "batch" => 2,
        None => 5,
    };
    let shape: Vec<usize> = arg.ty.shape.iter().map(size).collect();
    let count: usize = shape.iter().product();
    let dtype = arg.ty.dtype().expect("dense");
    let values: Vec<f64> = (0..count)
        .map(|n| match &*arg.name {
            // Encoders pad on the right.
            "attention_mask" => f64::from(n < 8),
            "position_ids" => (n % shape[shape.len() - 1]) as f64,
            "token_type_ids" => (n % 2) as f64,
            "labels" if dtype.is_float() => random.uniform(-1.0, 1.0),
            "labels" if shape.len() > 1 && n % 4 == 1 => -100.0,
            "labels" | "start_positions" | "end_positions" => random.below(2) as f64,
            _ => random.between(3, 90) as f64,
        })
        .collect();
    Tensor::from_f64(dtype, shape, &values).expect("fits")
}

/// The relative error of the slope along a random direction of all parameters.
fn error(name: &str, seed: u64) -> Option<f64> {
    let files = ModelFiles::open_folder(&folder(name)).expect("a checkpoint");
    let training = Training::of_config(&files.config).expect("a known problem type");
    let options = TraceOptions { max_seq: Some(32), training: Some(training), ..TraceOptions::default() };
    let traced = match trace(None, &files.config, &files.checkpoint, &options) {
        Err(kiln_models::Error::NoLoss { .. }) => return None,
        traced => traced.unwrap_or_else(|e| panic!("{name}: {e}")),
    };
    let module = in_f64(&traced.module).expect("no blocks");
    let made = autodiff(&module, &Autodiff::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let (_, f) = made.find("loss").expect("an entry");
    let mut random = Random::new(seed);
    let mut args: Vec<Tensor> = vec![];
    let mut directions = vec![];
    for (i, arg) in f.args.iter().enumerate() {
        if let ArgKind::Param { live } = arg.kind {
            let values = files.checkpoint.to_f32(&arg.name).expect("a parameter");
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let shape = files.checkpoint.entry(&arg.name).expect("a parameter").shape.clone();
            args.push(Tensor::from_f64(DType::F64, shape, &values).expect("fits"));
            // A buffer stays as it is.
            directions.push(live.then(|| values.iter().map(|_| random.normal()).collect::<Vec<f64>>()));
        } else {
            args.push(input(f, i, &mut random));
            directions.push(None);
        }
    }
    let outputs = interp::run(&made, "loss", &args, &[]).unwrap_or_else(|e| panic!("{name}: {e}"));
    let (slope, _) = slope(f, &outputs, &directions);
    let differences = [1e-5, 1e-6].map(|step| difference((&module, "loss"), (&args, &[]), &directions, step));
    Some(differences.iter().map(|d| (d - slope).abs() / slope.abs()).fold(f64::INFINITY, f64::min))
}

#[test]
fn of_every_golden() {
    let mut checked = 0;
    for name in goldens() {
        if let Some(error) = error(&name, 11) {
            assert!(error < 1e-5, "{name}: {error}");
            checked += 1;
        }
    }
    assert!(checked >= 20, "{checked}");
}
