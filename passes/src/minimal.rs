//! The smallest part of a list that shows something: what `explain` and `kiln bisect` look for.

/// A part of the items, in their order, for which `holds` still holds and from which no single one can be left out. `holds` must hold of all of
/// them; the answer for all isn't asked again.
///
/// Leaves out halves, then quarters, down to single items, later ones first: what comes later may rest on what comes before.
///
/// # Errors
/// The first that `holds` gives.
pub fn minimal<T: Clone, E>(items: &[T], mut holds: impl FnMut(&[T]) -> Result<bool, E>) -> Result<Vec<T>, E> {
    let mut kept = items.to_vec();
    let mut size = kept.len().div_ceil(2);
    while size > 0 {
        let mut smaller = false;
        let mut end = kept.len();
        while end > 0 {
            let start = end.saturating_sub(size);
            let without: Vec<T> = kept[..start].iter().chain(&kept[end..]).cloned().collect();
            if holds(&without)? {
                kept = without;
                smaller = true;
            }
            end = start;
        }
        size = match size {
            1 if smaller => 1,
            _ => size / 2,
        };
        size = size.min(kept.len());
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::minimal;
    use std::convert::Infallible;

    fn of(items: u32, wanted: &[u32]) -> (Vec<u32>, usize) {
        let mut asked = 0;
        let all: Vec<u32> = (0..items).collect();
        let Ok(found) = minimal(&all, |part| {
            asked += 1;
            Ok::<bool, Infallible>(wanted.iter().all(|w| part.contains(w)))
        });
        (found, asked)
    }

    #[test]
    fn what_is_needed_stays_in_order_and_nothing_else() {
        assert!(of(100, &[]).0.is_empty());
        assert_eq!(of(100, &[37]).0, [37]);
        assert_eq!(of(100, &[0, 3, 50, 99]).0, [0, 3, 50, 99]);
        assert_eq!(of(3, &[0, 1, 2]).0, [0, 1, 2]);
        assert!(of(0, &[]).0.is_empty());
        // One of a thousand is found by halves.
        assert!(of(1000, &[613]).1 < 40);
    }

    #[test]
    fn errors_end_the_search() {
        assert_eq!(minimal(&[1, 2], |_| Err("no")), Err("no"));
    }
}
