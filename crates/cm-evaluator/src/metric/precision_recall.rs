//! Precision, recall, density and coverage: manifolds as unions of balls about points, each reaching to the point's
//! k-th neighbour.
//!
//! Precision and recall: Kynkäänniemi et al. 2019, Equations 1 and 2. Density and coverage: Naeem et al. 2020,
//! Equations 4 and 5. Neighbours are exact, by blocks of matrix products; where rounding of a product could decide,
//! the distance is taken again by its definition, so counts are those of a plain double loop.
//!
//! Ties: balls are closed, so a sample at exactly the radius is inside, as in the original evaluator (the code of
//! Naeem et al. has them open). A point is not its own neighbour, but an equal one is: k equal copies besides it
//! make a ball of radius 0, which still holds its own centre.

use super::MetricError;
use super::points::{Points, squared_row_distance};
use rayon::prelude::*;
use std::ops::Range;

/// Points whose neighbours or balls one task works out.
const BLOCK_ROWS: usize = 256;
/// Points against which a block is multiplied at once.
const BLOCK_COLS: usize = 1024;

/// Points, each with the distances to its nearest neighbours: the set's manifold, for several k at once.
#[derive(Clone, Debug)]
pub struct Manifold {
    points: Points,
    neighbours: usize,
    /// Squared distances of each point to its first, second, ... neighbour.
    squared_radii: Vec<f64>,
}

/// What balls of one set say of the points of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BallCounts {
    /// For each point, in how many balls it lies.
    pub balls_of_point: Vec<usize>,
    /// For each ball, whether any point lies in it.
    pub ball_is_hit: Vec<bool>,
}

impl Manifold {
    /// The manifold of `points` for every k from 1 to `neighbours`.
    ///
    /// # Errors
    /// [`MetricError::TooFew`] unless there are more points than `neighbours`, and `neighbours` is at least 1.
    pub fn new(points: Points, neighbours: usize) -> Result<Self, MetricError> {
        if neighbours == 0 {
            return Err(MetricError::TooFew { what: "neighbours", given: 0, needed: 1 });
        }
        if points.len() <= neighbours {
            let (what, given, needed) = ("points of a manifold", points.len(), neighbours + 1);
            return Err(MetricError::TooFew { what, given, needed });
        }
        let blocks: Vec<Vec<f64>> = blocks(points.len(), BLOCK_ROWS)
            .into_par_iter()
            .map(|rows| nearest(&points, rows, neighbours))
            .collect();
        Ok(Self { points, neighbours, squared_radii: blocks.concat() })
    }

    /// The points.
    pub fn points(&self) -> &Points {
        &self.points
    }

    /// The squared distance of a point to its k-th neighbour.
    ///
    /// # Panics
    /// If `index` is not below the number of points, or `k` is 0 or above the neighbours this was made for.
    pub fn squared_radius(&self, index: usize, k: usize) -> f64 {
        assert!((1..=self.neighbours).contains(&k), "made for 1 to {} neighbours, not {k}", self.neighbours);
        self.squared_radii[index * self.neighbours + k - 1]
    }

    /// Which of `others` lie in which balls of radius "distance to the k-th neighbour".
    ///
    /// # Errors
    /// [`MetricError::Columns`] if the points have another number of coordinates.
    ///
    /// # Panics
    /// As [`squared_radius`](Self::squared_radius).
    pub fn count(&self, others: &Points, k: usize) -> Result<BallCounts, MetricError> {
        others.check_same_space(&self.points)?;
        let radii: Vec<f64> = (0..self.points.len()).map(|index| self.squared_radius(index, k)).collect();
        let parts: Vec<BallCounts> = blocks(others.len(), BLOCK_ROWS)
            .into_par_iter()
            .map(|rows| count_block(&self.points, &radii, others, rows))
            .collect();
        let mut all = BallCounts { balls_of_point: Vec::new(), ball_is_hit: vec![false; radii.len()] };
        for part in parts {
            all.balls_of_point.extend(part.balls_of_point);
            all.ball_is_hit.iter_mut().zip(part.ball_is_hit).for_each(|(all, part)| *all |= part);
        }
        Ok(all)
    }
}

impl Manifold {
    /// For each of `others` its nearest point here, the first of equally near ones, and the squared distance.
    ///
    /// # Errors
    /// [`MetricError::Columns`] if the points have another number of coordinates.
    pub fn nearest_of(&self, others: &Points) -> Result<Vec<(usize, f64)>, MetricError> {
        others.check_same_space(&self.points)?;
        let parts: Vec<_> = blocks(others.len(), BLOCK_ROWS)
            .into_par_iter()
            .map(|rows| nearest_centres(&self.points, others, rows))
            .collect();
        Ok(parts.concat())
    }
}

impl BallCounts {
    /// The share of points inside any ball: precision for balls about the reference, recall for balls about the
    /// samples. NaN without points.
    pub fn share_inside(&self) -> f64 {
        let inside = self.balls_of_point.iter().filter(|&&balls| balls > 0).count();
        inside as f64 / self.balls_of_point.len() as f64
    }

    /// Density of the points (Naeem et al. 2020, Equation 4): the mean number of balls about a point, over k.
    pub fn density(&self, k: usize) -> f64 {
        let balls: usize = self.balls_of_point.iter().sum();
        balls as f64 / (k * self.balls_of_point.len()) as f64
    }

    /// Coverage (Naeem et al. 2020, Equation 5): the share of balls with a point in them.
    pub fn coverage(&self) -> f64 {
        self.ball_is_hit.iter().filter(|&&hit| hit).count() as f64 / self.ball_is_hit.len() as f64
    }
}

/// `0..len` cut into ranges of at most `size`.
fn blocks(len: usize, size: usize) -> Vec<Range<usize>> {
    (0..len).step_by(size).map(|from| from..(from + size).min(len)).collect()
}

/// Squared distances of some points to their first `neighbours` neighbours, ascending, point after point.
fn nearest(points: &Points, rows: Range<usize>, neighbours: usize) -> Vec<f64> {
    let mut rough = vec![0.0; rows.len() * points.len()];
    let mut block = Vec::new();
    for cols in blocks(points.len(), BLOCK_COLS) {
        points.rough_distances(rows.clone(), points, cols.clone(), &mut block);
        for (to, from) in rough.chunks_exact_mut(points.len()).zip(block.chunks_exact(cols.len())) {
            to[cols.clone()].copy_from_slice(from);
        }
    }
    let mut radii = Vec::with_capacity(rows.len() * neighbours);
    let mut order = Vec::new();
    for (row, distances) in rows.zip(rough.chunks_exact(points.len())) {
        order.clear();
        order.extend((0..points.len()).filter(|&other| other != row).map(|other| distances[other]));
        let (_, &mut farthest, _) = order.select_nth_unstable_by(neighbours - 1, f64::total_cmp);
        // The true neighbours are among those whose rough distance could, with both errors, still be as small.
        let reach = farthest + 2.0 * points.distance_error(row, points);
        order.clear();
        order.extend(
            (0..points.len())
                .filter(|&other| other != row && distances[other] <= reach)
                .map(|other| squared_row_distance(points.point(row), points.point(other))),
        );
        order.sort_unstable_by(f64::total_cmp);
        radii.extend_from_slice(&order[..neighbours]);
    }
    radii
}

/// [`Manifold::nearest_of`] for some of the points.
fn nearest_centres(centres: &Points, points: &Points, rows: Range<usize>) -> Vec<(usize, f64)> {
    let mut found = vec![(0, f64::INFINITY); rows.len()];
    let mut block = Vec::new();
    for cols in blocks(centres.len(), BLOCK_COLS) {
        points.rough_distances(rows.clone(), centres, cols.clone(), &mut block);
        for ((row, best), distances) in rows.clone().zip(&mut found).zip(block.chunks_exact(cols.len())) {
            let error = points.distance_error(row, centres);
            for (centre, &rough) in cols.clone().zip(distances) {
                if rough - error < best.1 {
                    let squared = squared_row_distance(points.point(row), centres.point(centre));
                    if squared < best.1 {
                        *best = (centre, squared);
                    }
                }
            }
        }
    }
    found
}

/// [`Manifold::count`] for some of the points.
fn count_block(centres: &Points, squared_radii: &[f64], points: &Points, rows: Range<usize>) -> BallCounts {
    let mut counts =
        BallCounts { balls_of_point: vec![0; rows.len()], ball_is_hit: vec![false; centres.len()] };
    let mut block = Vec::new();
    for cols in blocks(centres.len(), BLOCK_COLS) {
        points.rough_distances(rows.clone(), centres, cols.clone(), &mut block);
        for ((row, balls), distances) in
            rows.clone().zip(&mut counts.balls_of_point).zip(block.chunks_exact(cols.len()))
        {
            let error = points.distance_error(row, centres);
            for (centre, &rough) in cols.clone().zip(distances) {
                let radius = squared_radii[centre];
                let inside = if (rough - radius).abs() > error {
                    rough < radius
                } else {
                    squared_row_distance(points.point(row), centres.point(centre)) <= radius
                };
                *balls += usize::from(inside);
                counts.ball_is_hit[centre] |= inside;
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::FeatureMatrix;
    use cm_image::random::Random;
    use proptest::prelude::*;

    fn points(dim: usize, values: Vec<f32>) -> Points {
        Points::new(&FeatureMatrix::new(dim, values).unwrap()).unwrap()
    }

    /// Values on a coarse lattice, so that ties and equal points are common.
    fn lattice(seed: u64, count: usize, dim: usize, steps: u64) -> Points {
        let mut random = Random::new(seed);
        points(dim, (0..count * dim).map(|_| random.below(steps) as f32 * 0.1 + 3.0).collect())
    }

    fn gaussian(seed: u64, count: usize, dim: usize, shift: f32) -> Points {
        let mut random = Random::new(seed);
        points(dim, (0..count * dim).map(|_| random.normal() + shift).collect())
    }

    /// Squared distances to the k-th neighbours, by the definition.
    fn naive_radii(points: &Points, k: usize) -> Vec<f64> {
        let radius = |centre: usize| {
            let mut all: Vec<f64> = (0..points.len())
                .filter(|&other| other != centre)
                .map(|other| squared_row_distance(points.point(centre), points.point(other)))
                .collect();
            all.sort_by(f64::total_cmp);
            all[k - 1]
        };
        (0..points.len()).map(radius).collect()
    }

    /// The double loop: counts by the definition.
    fn naive(centres: &Points, others: &Points, k: usize) -> BallCounts {
        let radii = naive_radii(centres, k);
        let inside = |point: usize, centre: usize| {
            squared_row_distance(others.point(point), centres.point(centre)) <= radii[centre]
        };
        BallCounts {
            balls_of_point: (0..others.len())
                .map(|point| (0..centres.len()).filter(|&centre| inside(point, centre)).count())
                .collect(),
            ball_is_hit: (0..centres.len())
                .map(|centre| (0..others.len()).any(|point| inside(point, centre)))
                .collect(),
        }
    }

    #[test]
    fn points_on_a_line_by_hand() {
        // Balls of k = 1: 0 reaches 1, 1 reaches 1 (to 0), 3 reaches 2 (to 1).
        let reference = Manifold::new(points(1, vec![0.0, 1.0, 3.0]), 2).unwrap();
        assert_eq!([0, 1, 2].map(|index| reference.squared_radius(index, 1)), [1.0, 1.0, 4.0]);
        assert_eq!([0, 1, 2].map(|index| reference.squared_radius(index, 2)), [9.0, 4.0, 9.0]);
        // -1 is on the edge of the first ball, 0.5 in two, 2 on the edge of two, 6 in none.
        let counts = reference.count(&points(1, vec![-1.0, 0.5, 2.0, 6.0]), 1).unwrap();
        assert_eq!(counts.balls_of_point, [1, 2, 2, 0]);
        assert_eq!(counts.ball_is_hit, [true, true, true]);
        assert_eq!((counts.share_inside(), counts.density(1), counts.coverage()), (0.75, 1.25, 1.0));
        let far = reference.count(&points(1, vec![4.0]), 1).unwrap();
        assert_eq!((far.share_inside(), far.density(1), far.coverage()), (1.0, 1.0, 1.0 / 3.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn counts_are_those_of_the_double_loop_even_on_ties(
            seed: u64, n in 6usize..150, m in 1usize..150, dim in 1usize..5, steps in 2u64..9, k in 1usize..6,
        ) {
            let (centres, others) = (lattice(seed, n, dim, steps), lattice(!seed, m, dim, steps));
            let counts = Manifold::new(centres.clone(), k).unwrap().count(&others, k).unwrap();
            prop_assert_eq!(counts, naive(&centres, &others, k));
        }
    }

    /// The nearest centre by the double loop.
    fn naive_nearest(centres: &Points, others: &Points) -> Vec<(usize, f64)> {
        let nearest = |point: usize| {
            let distance = |centre| squared_row_distance(others.point(point), centres.point(centre));
            let all = (0..centres.len()).map(|centre| (centre, distance(centre)));
            all.reduce(|best, other| if other.1 < best.1 { other } else { best }).unwrap()
        };
        (0..others.len()).map(nearest).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn the_nearest_are_those_of_the_double_loop_even_on_ties(
            seed: u64, n in 2usize..150, m in 1usize..150, dim in 1usize..5, steps in 2u64..9,
        ) {
            let (centres, others) = (lattice(seed, n, dim, steps), lattice(!seed, m, dim, steps));
            let found = Manifold::new(centres.clone(), 1).unwrap().nearest_of(&others).unwrap();
            prop_assert_eq!(found, naive_nearest(&centres, &others));
        }
    }

    #[test]
    fn more_points_than_a_block_of_columns() {
        let (centres, others) = (gaussian(1, BLOCK_COLS + 70, 3, 0.0), gaussian(2, 90, 3, 0.5));
        let manifold = Manifold::new(centres.clone(), 4).unwrap();
        assert_eq!(manifold.count(&others, 4).unwrap(), naive(&centres, &others, 4));
        assert_eq!(manifold.count(&others, 2).unwrap(), naive(&centres, &others, 2));
        assert_eq!(manifold.nearest_of(&others).unwrap(), naive_nearest(&centres, &others));
    }

    #[test]
    fn radii_are_exact_where_products_have_lost_the_order_of_neighbours() {
        // At 10^6 in 256 dimensions products are off by 0.1, while distances of about 500 lie 0.5 apart.
        let far = gaussian(6, 120, 256, 1e6);
        let manifold = Manifold::new(far.clone(), 4).unwrap();
        for k in 1..=4 {
            let radii: Vec<f64> = (0..far.len()).map(|index| manifold.squared_radius(index, k)).collect();
            assert_eq!(radii, naive_radii(&far, k));
        }
    }

    #[test]
    fn copies_make_balls_of_radius_0_that_hold_their_centre() {
        let copies = points(2, [0.1, 0.7].repeat(5));
        let manifold = Manifold::new(copies, 3).unwrap();
        assert_eq!(manifold.squared_radius(0, 3), 0.0);
        let counts = manifold.count(&points(2, vec![0.1, 0.7, 0.1, 0.7001]), 3).unwrap();
        assert_eq!(counts.balls_of_point, [5, 0]);
    }

    #[test]
    fn equal_laws_are_dense_and_covered_and_far_ones_are_not() {
        let reference = Manifold::new(gaussian(3, 400, 4, 0.0), 5).unwrap();
        let same = reference.count(&gaussian(4, 400, 4, 0.0), 5).unwrap();
        // In expectation density is 1 and coverage 1 - 2^-k in the limit (Naeem et al. 2020, Section 3.3).
        assert!((same.density(5) - 1.0).abs() < 0.2, "{}", same.density(5));
        assert!((same.coverage() - (1.0 - 0.5f64.powi(5))).abs() < 0.05, "{}", same.coverage());
        let far = reference.count(&gaussian(5, 400, 4, 50.0), 5).unwrap();
        assert_eq!((far.share_inside(), far.density(5), far.coverage()), (0.0, 0.0, 0.0));
    }

    #[test]
    fn too_few_points_and_other_spaces_are_refused() {
        let three = points(1, vec![0.0, 1.0, 2.0]);
        let error = Manifold::new(three.clone(), 3).unwrap_err();
        assert_eq!(error, MetricError::TooFew { what: "points of a manifold", given: 3, needed: 4 });
        assert!(Manifold::new(three.clone(), 0).is_err());
        let manifold = Manifold::new(three, 2).unwrap();
        assert!(manifold.count(&points(2, vec![0.0, 0.0]), 1).is_err());
        let broken = FeatureMatrix::new(1, vec![0.0, f32::NAN]).unwrap();
        assert_eq!(Points::new(&broken), Err(MetricError::NotFinite { rows: 1, first: 1 }));
    }
}
