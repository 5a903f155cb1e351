//! The greedy ternary search of Song et al. 2023, Section 3, for the times of multistep sampling. Nothing but indexes and
//! numbers: what they mean is its caller's business.

use std::collections::BTreeMap;

/// One evaluation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tried {
    /// The indexes, rising.
    pub(crate) indexes: Vec<usize>,
    /// What they are worth; less is better.
    pub(crate) value: f64,
}

/// Finds `points` rising indexes from 1 to `num_levels` - 2 whose value is small; the first and the last level are no
/// times of their own. One index after the other is found and kept: the k-th by ternary search of `evaluate(found so
/// far, and this one)` over the indexes behind the last one found, with room left for those to come.
///
/// A ternary search halts at the minimum if there is but one; here the values are noisy, so the best index that was
/// tried is taken, the least of equals. Nothing is evaluated twice. Returns the indexes and all that was tried, in order.
///
/// # Errors
/// The first error of `evaluate`.
///
/// # Panics
/// If there is no room: `points` must be at most `num_levels` - 2.
pub(crate) fn greedy_ternary_search<E>(
    num_levels: usize,
    points: usize,
    mut evaluate: impl FnMut(&[usize]) -> Result<f64, E>,
) -> Result<(Vec<usize>, Vec<Tried>), E> {
    assert!(points + 2 <= num_levels, "{points} points do not fit between {num_levels} levels");
    let (mut found, mut tried): (Vec<usize>, Vec<Tried>) = (Vec::new(), Vec::new());
    for point in 0..points {
        let first = found.last().map_or(1, |last| last + 1);
        let last = num_levels - 1 - (points - point);
        let best = ternary_search(first, last, |index| {
            let mut indexes = found.clone();
            indexes.push(index);
            let value = evaluate(&indexes)?;
            tried.push(Tried { indexes, value });
            Ok(value)
        })?;
        found.push(best);
    }
    Ok((found, tried))
}

/// The best index tried among `first..=last`, the least of equals; `evaluate` is called once for each.
fn ternary_search<E>(
    first: usize,
    last: usize,
    mut evaluate: impl FnMut(usize) -> Result<f64, E>,
) -> Result<usize, E> {
    let mut values: BTreeMap<usize, f64> = BTreeMap::new();
    let mut value = |index: usize| -> Result<f64, E> {
        if let Some(&value) = values.get(&index) {
            return Ok(value);
        }
        let value = evaluate(index)?;
        values.insert(index, value);
        Ok(value)
    };
    let (mut low, mut high) = (first, last);
    while high - low >= 3 {
        let third = (high - low) / 3;
        let (left, right) = (low + third, high - third);
        // Of the two the worse is no minimum that is left to be found.
        if value(left)?.total_cmp(&value(right)?).is_lt() {
            high = right - 1;
        } else {
            low = left + 1;
        }
    }
    for index in low..=high {
        value(index)?;
    }
    let best = values.iter().min_by(|a, b| a.1.total_cmp(b.1));
    Ok(*best.expect("the interval holds an index").0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::convert::Infallible;

    /// The index found for one point, and the indexes tried.
    fn search(num_levels: usize, value: impl Fn(usize) -> f64) -> (usize, Vec<usize>) {
        let evaluate = |indexes: &[usize]| Ok::<f64, Infallible>(value(indexes[0]));
        let (found, tried) = greedy_ternary_search(num_levels, 1, evaluate).unwrap();
        (found[0], tried.into_iter().map(|tried| tried.indexes[0]).collect())
    }

    #[test]
    fn the_minimum_of_a_unimodal_function_is_found_wherever_it_is() {
        for num_levels in 3..70 {
            for minimum in 1..num_levels - 1 {
                // Steep to the left, flat to the right.
                let value = |index: usize| {
                    let distance = index as f64 - minimum as f64;
                    if distance < 0.0 { -10.0 * distance } else { distance.sqrt() }
                };
                let (found, tried) = search(num_levels, value);
                assert_eq!(found, minimum, "of {num_levels}");
                assert!(tried.iter().all(|index| (1..num_levels - 1).contains(index)));
                let once: BTreeSet<&usize> = tried.iter().collect();
                assert_eq!(once.len(), tried.len(), "{tried:?}");
            }
        }
    }

    /// Each round leaves two thirds for two evaluations: of 1000 indexes 2 ln(1000 / 3) / ln(3 / 2) = 29 and the rest.
    #[test]
    fn evaluations_grow_with_the_logarithm() {
        for minimum in [1, 17, 500, 999, 1000] {
            let (found, tried) = search(1002, |index| (index as f64 - minimum as f64).abs());
            assert_eq!(found, minimum);
            assert!(tried.len() <= 32, "{}", tried.len());
        }
    }

    #[test]
    fn a_plateau_ends_and_its_bottom_is_found() {
        // Flat at the bottom.
        for centre in 3..30 {
            let (found, _) = search(40, |index| (index.abs_diff(centre).saturating_sub(2)) as f64);
            assert!(found.abs_diff(centre) <= 2, "{found} and {centre}");
        }
        // Flat everywhere: the first that was tried.
        let (found, tried) = search(40, |_| 1.0);
        assert_eq!(Some(&found), tried.iter().min());
        // No numbers at all, and one among them.
        assert!(search(10, |_| f64::NAN).0 >= 1);
        assert_eq!(search(5, |index| if index == 2 { 0.0 } else { f64::NAN }).0, 2);
    }

    /// The original's search has no answer if it starts with fewer than three indexes, and gives one inside the last
    /// interval where its end is meant.
    #[test]
    fn short_intervals_and_their_ends_have_an_answer() {
        assert_eq!(search(3, |_| 7.0), (1, vec![1]));
        for num_levels in 4..8 {
            assert_eq!(search(num_levels, |index| index as f64).0, 1);
            assert_eq!(search(num_levels, |index| -(index as f64)).0, num_levels - 2);
        }
    }

    #[test]
    fn points_are_found_one_after_the_other_and_rise() {
        let wanted = [10.0, 20.0, 33.0];
        let evaluate = |indexes: &[usize]| {
            let pairs = indexes.iter().zip(wanted);
            Ok::<f64, Infallible>(pairs.map(|(&index, wanted)| (index as f64 - wanted).abs()).sum())
        };
        let (found, tried) = greedy_ternary_search(40, 3, evaluate).unwrap();
        assert_eq!(found, [10, 20, 33]);
        assert!(tried.iter().all(|tried| tried.indexes.is_sorted_by(|a, b| a < b)));
        // The second search keeps the first point.
        assert!(tried.iter().filter(|tried| tried.indexes.len() == 2).all(|tried| tried.indexes[0] == 10));
    }

    #[test]
    fn there_is_room_for_points_to_come() {
        // Alone, the first point would go to the very end.
        let late = |indexes: &[usize]| Ok::<f64, Infallible>(-(indexes[0] as f64));
        assert_eq!(greedy_ternary_search(9, 3, late).unwrap().0[0], 5);
        assert_eq!(greedy_ternary_search(5, 3, late).unwrap().0, [1, 2, 3]);
    }

    #[test]
    fn an_error_ends_the_search_at_once() {
        let mut calls = 0;
        let evaluate = |_: &[usize]| {
            calls += 1;
            if calls == 3 { Err("broken") } else { Ok(1.0) }
        };
        assert_eq!(greedy_ternary_search(40, 2, evaluate), Err("broken"));
        assert_eq!(calls, 3);
    }
}
