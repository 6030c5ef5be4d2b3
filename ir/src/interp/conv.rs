//! Products of a kernel with windows.

use super::{Result, Tensor, movement::for_each_offset, movement::strides};
use crate::ConvAttrs;

/// `y[b, o, p..] = Σ_{c, k..} x[b, g(o) * channels + c, p * stride + k * dilation - low ..] * weight[o, c, k..]`, where x is 0 outside.
pub(super) fn conv(a: &ConvAttrs, x: &Tensor, weight: &Tensor, shape: &[usize]) -> Result<Tensor> {
    let (xs, ws) = (x.floats(), weight.floats());
    let (x_shape, w_shape) = (x.shape(), weight.shape());
    let (channels, kernel, windows) = (w_shape[1], &w_shape[2..], &shape[2..]);
    let per_group = w_shape[0] / a.groups;
    let (x_strides, w_strides) = (strides(x_shape), strides(w_shape));
    let sizes = &x_shape[2..];
    let mut out = Vec::with_capacity(shape.iter().product());
    for batch in 0..shape[0] {
        for o in 0..shape[1] {
            let first = o / per_group * channels;
            each_index(windows, |window| {
                let mut sum = 0.0;
                for c in 0..channels {
                    let (x_row, w_row) =
                        (batch * x_strides[0] + (first + c) * x_strides[1], o * w_strides[0] + c * w_strides[1]);
                    each_index(kernel, |k| {
                        let mut at = x_row;
                        for axis in 0..sizes.len() {
                            let place = window[axis] * a.strides[axis] + k[axis] * a.dilations[axis];
                            match place.checked_sub(a.low[axis]) {
                                Some(i) if i < sizes[axis] => at += i * x_strides[2 + axis],
                                _ => return,
                            }
                        }
                        let place: usize = k.iter().zip(&w_strides[2..]).map(|(k, s)| k * s).sum();
                        sum += xs[at] * ws[w_row + place];
                    });
                }
                out.push(sum);
            });
        }
    }
    Ok(Tensor::from_f64(x.dtype().ok_or("block storage")?, shape, &out)?)
}

/// Calls `f` with each index into `shape`, in row-major order.
fn each_index(shape: &[usize], mut f: impl FnMut(&[usize])) {
    if shape.contains(&0) {
        return;
    }
    let mut index = vec![0; shape.len()];
    let steps = strides(shape);
    for_each_offset(shape, &steps, |offset| {
        let mut rest = offset;
        for (i, step) in index.iter_mut().zip(&steps) {
            *i = rest / step;
            rest %= step;
        }
        f(&index);
    });
}
