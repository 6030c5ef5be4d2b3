//! Which layers see the whole sequence, and which only a window of it.

use super::fields::{Fields, whole};
use crate::Result;

/// For each layer how far back it sees, `None` where it sees everything: `layer_types`, or, where the config has none, the layers that
/// `by_default` picks, as far as there is a window at all.
pub(crate) fn windows(
    fields: &Fields,
    layers: usize,
    window: Option<usize>,
    by_default: impl Fn(usize) -> bool,
) -> Result<Vec<Option<usize>>> {
    let Some(types) = fields.get("layer_types") else {
        return Ok((0..layers).map(|layer| window.filter(|_| by_default(layer))).collect());
    };
    let windowed = types.as_array().and_then(|all| {
        all.iter()
            .map(|layer| match layer.as_str() {
                Some("full_attention") => Some(false),
                Some("sliding_attention") => Some(true),
                _ => None,
            })
            .collect::<Option<Vec<bool>>>()
    });
    let expected = "a list of \"full_attention\" and \"sliding_attention\"";
    let windowed = windowed.ok_or_else(|| fields.invalid("layer_types", expected, types))?;
    if windowed.len() != layers {
        return Err(fields.contradictory(format!(
            "layer_types has {} entries, but num_hidden_layers is {layers}; expected one for each layer",
            windowed.len()
        )));
    }
    if window.is_none() && windowed.contains(&true) {
        return Err(fields.contradictory(
            "layer_types has \"sliding_attention\", but there is no window (use_sliding_window is false or sliding_window null)"
                .to_string(),
        ));
    }
    Ok(windowed.into_iter().map(|windowed| window.filter(|_| windowed)).collect())
}

/// The windows of Qwen: behind the switch `use_sliding_window`, and without `layer_types` on the layers from `max_window_layers` on.
pub(crate) fn later_layers(fields: &Fields, layers: usize) -> Result<Vec<Option<usize>>> {
    let switched_on = fields.bool("use_sliding_window", false)?;
    let window = fields.or_default("sliding_window", fields.window("sliding_window")?, 4096);
    let window = window.filter(|_| switched_on);
    let first = match fields.get("max_window_layers") {
        Some(zero) if whole(zero) == Some(0) => 0,
        _ => fields.size("max_window_layers", 10_000)?.unwrap_or(28),
    };
    windows(fields, layers, window, |layer| layer >= first)
}
