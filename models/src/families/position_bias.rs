//! T5's bias on attention scores: a number for each head and each bucket of distances between query and key.

use kiln_frontend::nn::Embedding;
use kiln_frontend::{DType, Tensor};

/// How a query's distance from a key becomes an index into a stack's biases.
#[derive(Clone, Debug)]
pub(super) struct Distances {
    /// From this distance on, all are the same.
    largest: i64,
    /// Whether keys after the query are told from those before it; else they are hidden.
    bidirectional: bool,
    /// The bucket of each distance: `key - query` from `-largest` to `largest`, or `query - key` from 0 to `largest`.
    buckets: Vec<i64>,
}

impl Distances {
    pub fn new(buckets: usize, largest: usize, bidirectional: bool) -> Self {
        let (count, largest) = (buckets, largest as i64);
        let buckets = match bidirectional {
            true => {
                let half = count / 2;
                let after = |distance: i64| if distance > 0 { half as i64 } else { 0 };
                (-largest..=largest).map(|d| after(d) + bucket(d.abs(), half, largest)).collect()
            }
            false => (0..=largest).map(|d| bucket(d, count, largest)).collect(),
        };
        Distances { largest, bidirectional, buckets }
    }
}

/// The first half of the buckets has one distance each; the others grow with the distance's logarithm, up to `largest`. Computed in f32, as
/// transformers does.
fn bucket(distance: i64, buckets: usize, largest: i64) -> i64 {
    let exact = (buckets / 2) as i64;
    if distance < exact {
        return distance;
    }
    let growth = (distance as f32 / exact as f32).ln() / (largest as f64 / exact as f64).ln() as f32;
    let beyond = (growth * (buckets as i64 - exact) as f32) as i64;
    (exact + beyond).min(buckets as i64 - 1)
}

/// The biases of a stack, for its queries.
pub(super) struct PositionBias {
    /// `[distances, heads]`.
    by_distance: Tensor,
    /// i64 `[batch, s]`.
    queries: Tensor,
    distances: Distances,
}

impl PositionBias {
    /// Of a table with a row for each bucket, for queries at positions i64 `[batch, s]`.
    pub fn new(table: &Embedding, distances: &Distances, queries: &Tensor) -> Self {
        let buckets: Vec<f64> = distances.buckets.iter().map(|b| *b as f64).collect();
        let buckets = queries.context().constant(DType::I64, &[buckets.len()], &buckets);
        let by_distance = table.forward(&buckets).to_dtype(DType::F32);
        PositionBias { by_distance, queries: queries.clone(), distances: distances.clone() }
    }

    /// Scores `[batch, heads, 1, s, t]` with the bias of each query and key added.
    pub fn add_to(&self, scores: &Tensor) -> Tensor {
        let queries = self.queries.unsqueeze(-1);
        let keys = scores.context().arange(scores.dim(-1));
        // Distances beyond the largest are clamped by the selection.
        let index = match self.distances.bidirectional {
            true => keys - queries + self.distances.largest,
            false => queries - keys,
        };
        let bias = self.by_distance.index_select(0, &index).permute(&[0, 3, 1, 2]).unsqueeze(2);
        scores + bias
    }
}

#[cfg(test)]
mod tests {
    use super::bucket;

    #[test]
    fn far_distances_share_buckets_as_in_transformers() {
        let first_of_each = |buckets: usize| -> Vec<i64> {
            (1..200).filter(|d| bucket(*d, buckets, 128) != bucket(d - 1, buckets, 128)).collect()
        };
        assert_eq!(first_of_each(16), [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]);
        let near = (1..=16).collect::<Vec<i64>>();
        let far = [19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113];
        assert_eq!(first_of_each(32), [&near[..], &far].concat());
        assert_eq!((bucket(100_000, 16, 128), bucket(100_000, 32, 128)), (15, 31));
    }
}
