//! Rotary embedding: its kinds, their parameters, and the inverse frequencies they give.
//!
//! The formulas are those of transformers' `modeling_rope_utils.py`, computed in f32 in the same order as PyTorch computes them
//! there (a Python number divided by a tensor is the tensor's reciprocal times the number), so that the angles agree to the last
//! bits even at long distances.

use super::DecoderConfig;
use super::fields::Fields;
use crate::Result;
use serde_json::Value;
use std::f64::consts::PI;

/// Rotary embedding of a model: `rope_parameters`, or `rope_theta` and `rope_scaling` of older configs.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// The base of the frequencies.
    pub rope_theta: f64,
    /// How they are stretched over longer texts.
    pub rope_type: RopeType,
}

/// The kinds of scaling, under transformers' names.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeType {
    /// No scaling.
    Default,
    /// All frequencies divided by `factor`.
    Linear {
        /// At least 1 in practice.
        factor: f64,
    },
    /// The base grows with the sequence once it is longer than `max_position_embeddings` (NTK).
    Dynamic {
        /// How fast.
        factor: f64,
        /// From which length on: the config's `max_position_embeddings`.
        max_position_embeddings: usize,
    },
    /// Low frequencies divided by `factor`, high ones kept, those between blended.
    Llama3 {
        /// The divisor.
        factor: f64,
        /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// The context that the model was first trained with.
        original_max_position_embeddings: usize,
    },
    /// YaRN: as Llama3, with a ramp over dimensions, and attention made sharper.
    Yarn {
        /// The divisor.
        factor: f64,
        /// The context that the model was first trained with.
        original_max_position_embeddings: usize,
        /// What cos and sin are multiplied by; by default `0.1 ln(factor) + 1`, see `mscale`.
        attention_factor: Option<f64>,
        /// Rotations over the original context above which a dimension is kept.
        beta_fast: f64,
        /// Rotations below which it is divided.
        beta_slow: f64,
        /// With `mscale_all_dim`: the default attention factor is the quotient of both.
        mscale: Option<f64>,
        /// See `mscale`.
        mscale_all_dim: Option<f64>,
        /// Whether the ramp starts and ends at whole dimensions.
        truncate: bool,
    },
    /// LongRoPE: each frequency has a divisor of its own, one within the original context and another beyond it.
    LongRope {
        /// The divisors within the original context.
        short_factor: Vec<f64>,
        /// The divisors beyond it.
        long_factor: Vec<f64>,
        /// The context that the model was first trained with.
        original_max_position_embeddings: usize,
        /// What cos and sin are multiplied by; by default `sqrt(1 + ln(factor) / ln(original))`, where `factor` is how far the context is
        /// stretched.
        attention_factor: f64,
    },
}

const KINDS: &str = "default, linear, dynamic, llama3, yarn or longrope";
pub(crate) const THETA: std::ops::RangeInclusive<f64> = 1.0001..=1e15;
const FACTOR: std::ops::RangeInclusive<f64> = 1e-3..=1e6;

impl RopeConfig {
    /// Reads `rope_parameters` (transformers 5), or `rope_scaling` and `rope_theta` (transformers 4), of a model that turns whole heads.
    ///
    /// # Errors
    /// As [`DecoderConfig::read`], for parameters of a kind that is not known too.
    pub fn read(config: &Fields, d: &DecoderConfig, default_theta: f64) -> Result<RopeConfig> {
        let nested = nested(config)?;
        whole_head(nested.as_ref().unwrap_or(config), partial_rotary_factor(config, nested.as_ref())?)?;
        let theta = config.number("rope_theta", THETA)?.unwrap_or(default_theta);
        Self::from_parts(config, nested, d.head_dim, d.max_position_embeddings, theta)
    }

    /// As [`read`](Self::read), of a model that may turn only the first elements of each head; gives their number too.
    ///
    /// # Errors
    /// As [`read`](Self::read), for an odd number of elements too.
    pub fn read_partial(
        config: &Fields,
        head_dim: usize,
        max_position_embeddings: usize,
        default_theta: f64,
        default_factor: f64,
    ) -> Result<(RopeConfig, usize)> {
        let nested = nested(config)?;
        let factor = partial_rotary_factor(config, nested.as_ref())?.unwrap_or(default_factor);
        let rotary_dim = (head_dim as f64 * factor) as usize;
        if rotary_dim == 0 || !rotary_dim.is_multiple_of(2) {
            return Err(config.contradictory(format!(
                "partial_rotary_factor {factor} of heads with {head_dim} elements is {rotary_dim} elements, but rotary embedding \
                 turns pairs and needs an even number of them"
            )));
        }
        let theta = config.number("rope_theta", THETA)?.unwrap_or(default_theta);
        let rope = Self::from_parts(config, nested, rotary_dim, max_position_embeddings, theta)?;
        Ok((rope, rotary_dim))
    }

    /// The rotary embedding of one kind of layers, where `rope_parameters` has an object for each kind. `scaling`, of transformers 4,
    /// stands for it where there is none.
    pub(crate) fn read_for_layers(
        config: &Fields,
        layer_type: &str,
        scaling: Option<Fields>,
        d: &DecoderConfig,
        default_theta: f64,
    ) -> Result<RopeConfig> {
        let by_type = config.object("rope_parameters")?.filter(|f| !f.is_empty());
        let nested = match by_type {
            Some(by_type) if by_type.get("rope_type").is_some() => {
                return Err(
                    by_type.missing(layer_type, "an object with the rotary embedding of the layers of that type")
                );
            }
            Some(by_type) => by_type.object(layer_type)?,
            None => scaling,
        };
        if let Some(fields) = &nested {
            whole_head(fields, fields.number("partial_rotary_factor", 0.0..=1.0)?)?;
        }
        Self::from_parts(config, nested, d.head_dim, d.max_position_embeddings, default_theta)
    }

    /// From the object that has the parameters, if there is one, and the config around it.
    fn from_parts(
        config: &Fields,
        nested: Option<Fields>,
        rotary_dim: usize,
        max_position_embeddings: usize,
        default_theta: f64,
    ) -> Result<RopeConfig> {
        let Some(fields) = nested else {
            return Ok(RopeConfig { rope_theta: default_theta, rope_type: RopeType::Default });
        };
        let rope_theta = fields.number("rope_theta", THETA)?.unwrap_or(default_theta);
        let name = match fields.string("rope_type")? {
            Some(name) => name,
            None => fields.string("type")?.unwrap_or("default"),
        };
        let original = || -> Result<usize> {
            let largest = 1 << 28;
            let outer = config.size("original_max_position_embeddings", largest)?;
            let inner = fields.size("original_max_position_embeddings", largest)?;
            Ok(outer.or(inner).unwrap_or(max_position_embeddings))
        };
        let rope_type = match name {
            "default" => RopeType::Default,
            "linear" => RopeType::Linear { factor: fields.required_number("factor", FACTOR)? },
            "dynamic" if rotary_dim <= 2 => {
                return Err(fields.contradictory(format!(
                    "rope type dynamic needs a head_dim above 2 (more than one turned pair), found {rotary_dim}"
                )));
            }
            "dynamic" => {
                RopeType::Dynamic { factor: fields.required_number("factor", 1.0..=1e6)?, max_position_embeddings }
            }
            "llama3" => llama3(&fields, original()?)?,
            // Early configs of Phi-3 call it `su`, or `yarn`.
            "longrope" | "su" => longrope(&fields, original()?, rotary_dim, max_position_embeddings)?,
            "yarn" if fields.get("long_factor").is_some() => {
                longrope(&fields, original()?, rotary_dim, max_position_embeddings)?
            }
            "yarn" => yarn(&fields, original()?, max_position_embeddings)?,
            other => return Err(fields.invalid("rope_type", KINDS, &Value::String(other.to_string()))),
        };
        Ok(RopeConfig { rope_theta, rope_type })
    }

    /// The `head_dim / 2` inverse frequencies, and the factor for cos and sin (1 except for YaRN and LongRoPE).
    ///
    /// `seq_len` is the length of the longest sequence so far and matters to [`RopeType::Dynamic`] and [`RopeType::LongRope`] only; `None`
    /// stands for the original context.
    pub fn inv_freq(&self, head_dim: usize, seq_len: Option<usize>) -> (Vec<f32>, f32) {
        let plain = inverse_frequencies(self.rope_theta as f32, head_dim);
        match &self.rope_type {
            RopeType::Default => (plain, 1.0),
            RopeType::Linear { factor } => (plain.iter().map(|f| f / *factor as f32).collect(), 1.0),
            RopeType::Dynamic { .. } => {
                (inverse_frequencies(self.dynamic_theta(head_dim, seq_len) as f32, head_dim), 1.0)
            }
            RopeType::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } => {
                let scale = |f| {
                    llama3_scaled(f, *factor, *low_freq_factor, *high_freq_factor, *original_max_position_embeddings)
                };
                (plain.into_iter().map(scale).collect(), 1.0)
            }
            RopeType::Yarn { .. } => self.yarn_inv_freq(head_dim),
            RopeType::LongRope { short_factor, long_factor, original_max_position_embeddings, attention_factor } => {
                let beyond = seq_len.is_some_and(|length| length > *original_max_position_embeddings);
                let factors = if beyond { long_factor } else { short_factor };
                let powers = powers(self.rope_theta as f32, head_dim);
                let frequencies = factors.iter().zip(powers).map(|(factor, power)| 1.0 / (*factor as f32 * power));
                (frequencies.collect(), *attention_factor as f32)
            }
        }
    }

    /// The base of the frequencies at a sequence length: `rope_theta`, except for [`RopeType::Dynamic`] beyond
    /// `max_position_embeddings`, where it is
    /// `rope_theta * (factor * seq_len / max_position_embeddings - (factor - 1)) ^ (head_dim / (head_dim - 2))`.
    pub fn dynamic_theta(&self, head_dim: usize, seq_len: Option<usize>) -> f64 {
        let RopeType::Dynamic { factor, max_position_embeddings } = &self.rope_type else { return self.rope_theta };
        let longest = seq_len.unwrap_or(0).max(*max_position_embeddings) as f64;
        let stretch = factor * longest / *max_position_embeddings as f64 - (factor - 1.0);
        self.rope_theta * stretch.powf(head_dim as f64 / (head_dim as f64 - 2.0))
    }

    fn yarn_inv_freq(&self, head_dim: usize) -> (Vec<f32>, f32) {
        let RopeType::Yarn {
            factor,
            original_max_position_embeddings,
            attention_factor,
            beta_fast,
            beta_slow,
            mscale,
            mscale_all_dim,
            truncate,
        } = self.rope_type
        else {
            return (inverse_frequencies(self.rope_theta as f32, head_dim), 1.0);
        };
        let dim = head_dim as f64;
        // The dimension that makes so many rotations over the original context.
        let correction = |rotations: f64| {
            let original = original_max_position_embeddings as f64;
            dim * (original / (rotations * 2.0 * PI)).ln() / (2.0 * self.rope_theta.ln())
        };
        let (mut low, mut high) = (correction(beta_fast), correction(beta_slow));
        if truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, mut high) = (low.max(0.0), high.min(dim - 1.0));
        if low == high {
            high += 0.001;
        }
        let blend = |(i, power): (usize, f32)| {
            let ramp = ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
            let kept = 1.0 - ramp;
            (1.0 / (factor as f32 * power)) * (1.0 - kept) + (1.0 / power) * kept
        };
        let frequencies = powers(self.rope_theta as f32, head_dim).enumerate().map(blend).collect();
        let scale = |mscale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 };
        let attention = attention_factor.unwrap_or_else(|| match (mscale, mscale_all_dim) {
            (Some(m), Some(all)) if m != 0.0 && all != 0.0 => scale(m) / scale(all),
            _ => scale(1.0),
        });
        (frequencies, attention as f32)
    }
}

/// `base ^ (2 i / head_dim)`.
fn powers(base: f32, head_dim: usize) -> impl Iterator<Item = f32> {
    (0..head_dim).step_by(2).map(move |i| base.powf(i as f32 / head_dim as f32))
}

fn inverse_frequencies(base: f32, head_dim: usize) -> Vec<f32> {
    powers(base, head_dim).map(|power| 1.0 / power).collect()
}

fn llama3_scaled(frequency: f32, factor: f64, low: f64, high: f64, original: usize) -> f32 {
    let original = original as f64;
    let wavelength = (1.0 / frequency) * (2.0 * PI) as f32;
    if wavelength < (original / high) as f32 {
        return frequency;
    }
    if wavelength > (original / low) as f32 {
        return frequency / factor as f32;
    }
    let smooth = ((1.0 / wavelength) * original as f32 - low as f32) / (high - low) as f32;
    (1.0 - smooth) * frequency / factor as f32 + smooth * frequency
}

/// The object with the parameters: `rope_scaling`, to which transformers gives precedence, or `rope_parameters`.
fn nested<'a>(config: &Fields<'a>) -> Result<Option<Fields<'a>>> {
    match config.object("rope_scaling")?.filter(|f| !f.is_empty()) {
        Some(scaling) => Ok(Some(scaling)),
        None => config.object("rope_parameters"),
    }
}

fn partial_rotary_factor(config: &Fields, nested: Option<&Fields>) -> Result<Option<f64>> {
    let read = |fields: &Fields| fields.number("partial_rotary_factor", 0.0..=1.0);
    let inner = nested.map(read).transpose()?.flatten();
    Ok(inner.or(read(config)?))
}

/// Most architectures turn whole heads.
fn whole_head(fields: &Fields, partial_rotary_factor: Option<f64>) -> Result<()> {
    match partial_rotary_factor {
        Some(part) if part != 1.0 => {
            Err(fields.invalid("partial_rotary_factor", "1, since this architecture turns whole heads", &part.into()))
        }
        _ => Ok(()),
    }
}

fn llama3(fields: &Fields, original_max_position_embeddings: usize) -> Result<RopeType> {
    let low_freq_factor = fields.required_number("low_freq_factor", 1e-3..=1e6)?;
    let high_freq_factor = fields.required_number("high_freq_factor", 1e-3..=1e6)?;
    if high_freq_factor <= low_freq_factor {
        return Err(fields.contradictory(format!(
            "rope type llama3 has high_freq_factor {high_freq_factor}, which must be above low_freq_factor {low_freq_factor}"
        )));
    }
    Ok(RopeType::Llama3 {
        factor: fields.required_number("factor", FACTOR)?,
        low_freq_factor,
        high_freq_factor,
        original_max_position_embeddings,
    })
}

fn yarn(fields: &Fields, original_max_position_embeddings: usize, max_position_embeddings: usize) -> Result<RopeType> {
    // 0 counts as absent, as in transformers (`or`).
    let beta = |name: &str, default: f64| -> Result<f64> {
        Ok(fields.number(name, 0.0..=1e6)?.filter(|&beta| beta != 0.0).unwrap_or(default))
    };
    let (beta_fast, beta_slow) = (beta("beta_fast", 32.0)?, beta("beta_slow", 1.0)?);
    if beta_fast < beta_slow {
        return Err(fields.contradictory(format!(
            "rope type yarn has beta_fast {beta_fast}, which must not be below beta_slow {beta_slow}"
        )));
    }
    let stretched = max_position_embeddings as f64 / original_max_position_embeddings as f64;
    Ok(RopeType::Yarn {
        factor: match fields.number("factor", FACTOR)? {
            Some(factor) => factor,
            None if fields.is_null("factor") => stretched,
            None => return Err(fields.missing("factor", "a number, how far the context is stretched")),
        },
        original_max_position_embeddings,
        attention_factor: fields.number("attention_factor", 0.0..=1e6)?,
        beta_fast,
        beta_slow,
        mscale: fields.number("mscale", 0.0..=1e6)?,
        mscale_all_dim: fields.number("mscale_all_dim", 0.0..=1e6)?,
        truncate: fields.bool("truncate", true)?,
    })
}

fn longrope(
    fields: &Fields,
    original_max_position_embeddings: usize,
    rotary_dim: usize,
    max_position_embeddings: usize,
) -> Result<RopeType> {
    let stretched = max_position_embeddings as f64 / original_max_position_embeddings as f64;
    let factor = fields.number("factor", FACTOR)?.unwrap_or(stretched);
    let by_default = match factor > 1.0 {
        true => (1.0 + factor.ln() / (original_max_position_embeddings as f64).ln()).sqrt(),
        false => 1.0,
    };
    Ok(RopeType::LongRope {
        short_factor: fields.required_numbers("short_factor", rotary_dim / 2, FACTOR)?,
        long_factor: fields.required_numbers("long_factor", rotary_dim / 2, FACTOR)?,
        original_max_position_embeddings,
        attention_factor: fields.number("attention_factor", 0.0..=1e6)?.unwrap_or(by_default),
    })
}
