//! Long curves with fewer points.

/// At most `most` points: of each stretch the lowest and the highest, so that peaks stay, and both ends.
pub(crate) fn thin(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    if points.len() <= most {
        return points.to_vec();
    }
    let stretches = (most - 2) / 2;
    let (first, last) = (points[0], points[points.len() - 1]);
    let inner = &points[1..points.len() - 1];
    let mut kept = vec![first];
    for stretch in 0..stretches {
        let part = &inner[stretch * inner.len() / stretches..(stretch + 1) * inner.len() / stretches];
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let ends = part.iter().min_by(by_value).zip(part.iter().max_by(by_value));
        if let Some((&low, &high)) = ends {
            let (earlier, later) = if low.0 <= high.0 { (low, high) } else { (high, low) };
            kept.push(earlier);
            kept.extend((later != earlier).then_some(later));
        }
    }
    kept.push(last);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST_POINTS: usize = 400;

    #[test]
    fn thinning_keeps_both_ends_and_the_one_peak() {
        let points: Vec<(f64, f64)> = (0..10_000)
            .map(|i| (f64::from(i), if i == 4321 { 9.0 } else { 0.001 * f64::from(i % 7) }))
            .collect();
        let thinned = thin(&points, MOST_POINTS);
        assert!(thinned.len() <= MOST_POINTS && thinned.len() > MOST_POINTS / 2, "{}", thinned.len());
        assert_eq!((thinned[0], thinned.last()), (points[0], points.last()));
        assert!(thinned.contains(&(4321.0, 9.0)));
        assert!(thinned.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(thin(&points[..MOST_POINTS], MOST_POINTS), points[..MOST_POINTS]);
    }
}
