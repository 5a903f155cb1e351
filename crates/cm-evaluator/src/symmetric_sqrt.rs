//! Square roots of covariance matrices, in `f64`, by the self-adjoint eigen-decomposition of `faer`.
//!
//! Decompositions run on one thread, so their result does not depend on the number of threads; at 2,048 features
//! that costs seconds, which is little beside drawing the samples.

use crate::metric::MetricError;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::{evd, svd};
use faer::{Accum, Mat, MatRef, Par, diag::Diag, linalg::matmul::matmul};

/// The symmetric square root of a symmetric positive semi-definite matrix: S with S S = A.
///
/// `matrix` holds the `dim` x `dim` values row by row; of the two triangles the lower one is read. Negative
/// eigenvalues, which rounding gives to matrices without full rank, count as 0. Returned in the same layout.
///
/// ```
/// let root = cm_evaluator::symmetric_sqrt(&[4.0, 0.0, 0.0, 9.0], 2).unwrap();
/// assert!((root[0] - 2.0).abs() < 1e-12 && root[1].abs() < 1e-12 && (root[3] - 3.0).abs() < 1e-12);
/// ```
///
/// # Errors
/// [`MetricError::NotSquare`], [`MetricError::NotFinite`] (rows of the matrix), or [`MetricError::NoConvergence`].
pub fn symmetric_sqrt(matrix: &[f64], dim: usize) -> Result<Vec<f64>, MetricError> {
    let a = checked(matrix, dim)?;
    let mut eigenvalues = Diag::<f64>::zeros(dim);
    let mut vectors = Mat::<f64>::zeros(dim, dim);
    let scratch = evd::self_adjoint_evd_scratch::<f64>(
        dim,
        evd::ComputeEigenvectors::Yes,
        Par::Seq,
        Default::default(),
    );
    evd::self_adjoint_evd(
        a,
        eigenvalues.as_mut(),
        Some(vectors.as_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| MetricError::NoConvergence("eigen-decomposition"))?;
    // S = V sqrt(L) V^T = W W^T with W = V L^(1/4), which is symmetric to the last bit.
    let roots = eigenvalues.column_vector();
    let scaled = Mat::from_fn(dim, dim, |i, j| vectors[(i, j)] * roots[j].max(0.0).sqrt().sqrt());
    let product = multiply(scaled.as_ref(), scaled.transpose());
    Ok((0..dim * dim).map(|at| product[(at / dim, at % dim)]).collect())
}

/// The sum of the singular values of the product of two `dim` x `dim` matrices, row by row each.
///
/// For S1 = A^(1/2), S2 = B^(1/2) this is tr((A B)^(1/2)): the singular values of S1 S2 are the square roots of the
/// eigenvalues of S1 B S1, the symmetric form of A B. Taking them directly keeps small ones exact to rounding where
/// the root of an eigenvalue would lose half of the digits.
///
/// # Errors
/// As [`symmetric_sqrt`].
pub fn nuclear_norm_of_product(left: &[f64], right: &[f64], dim: usize) -> Result<f64, MetricError> {
    let product = multiply(checked(left, dim)?, checked(right, dim)?);
    let mut values = Diag::<f64>::zeros(dim);
    let no = svd::ComputeSvdVectors::No;
    let scratch = svd::svd_scratch::<f64>(dim, dim, no, no, Par::Seq, Default::default());
    svd::svd(
        product.as_ref(),
        values.as_mut(),
        None,
        None,
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .map_err(|_| MetricError::NoConvergence("singular value decomposition"))?;
    Ok(values.column_vector().iter().sum())
}

/// The matrix of row-major values, if it is one and finite.
fn checked(values: &[f64], dim: usize) -> Result<MatRef<'_, f64>, MetricError> {
    // faer has no decomposition of an empty matrix.
    if dim == 0 || values.len() != dim * dim {
        return Err(MetricError::NotSquare { values: values.len(), dim });
    }
    let mut bad = (0..dim).filter(|row| !values[row * dim..][..dim].iter().all(|value| value.is_finite()));
    if let Some(first) = bad.next() {
        return Err(MetricError::NotFinite { rows: 1 + bad.count(), first });
    }
    Ok(MatRef::from_row_major_slice(values, dim, dim))
}

/// The product of two square matrices.
fn multiply(left: MatRef<'_, f64>, right: MatRef<'_, f64>) -> Mat<f64> {
    let mut product = Mat::zeros(left.nrows(), right.ncols());
    matmul(&mut product, Accum::Replace, left, right, 1.0, Par::Seq);
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use cm_image::random::Random;
    use proptest::prelude::*;

    /// Row-major product, by the definition.
    fn product(a: &[f64], b: &[f64], dim: usize) -> Vec<f64> {
        let at = |i: usize, j: usize| (0..dim).map(|k| a[i * dim + k] * b[k * dim + j]).sum();
        (0..dim * dim).map(|index| at(index / dim, index % dim)).collect()
    }

    /// G G^T for a Gaussian `dim` x `rank` matrix: positive semi-definite of that rank.
    fn random_gram(seed: u64, dim: usize, rank: usize) -> Vec<f64> {
        let mut random = Random::new(seed);
        let g: Vec<f64> = (0..dim * rank).map(|_| f64::from(random.normal())).collect();
        let at = |i: usize, j: usize| (0..rank).map(|k| g[i * rank + k] * g[j * rank + k]).sum();
        (0..dim * dim).map(|index| at(index / dim, index % dim)).collect()
    }

    fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }

    fn trace(a: &[f64], dim: usize) -> f64 {
        a.iter().step_by(dim + 1).sum()
    }

    #[test]
    fn diagonal_4_9_16() {
        let diagonal = |d: [f64; 3]| vec![d[0], 0.0, 0.0, 0.0, d[1], 0.0, 0.0, 0.0, d[2]];
        let root = symmetric_sqrt(&diagonal([4.0, 9.0, 16.0]), 3).unwrap();
        assert!(largest_difference(&root, &diagonal([2.0, 3.0, 4.0])) < 1e-14, "{root:?}");
        let norm = nuclear_norm_of_product(&root, &diagonal([1.0, 1.0, -1.0]), 3).unwrap();
        assert!((norm - 9.0).abs() < 1e-13, "singular values are not negative: {norm}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_root_is_symmetric_and_squares_to_the_matrix(seed: u64, dim in 1usize..24, missing in 0usize..24) {
            let rank = dim.saturating_sub(missing);
            let a = random_gram(seed, dim, rank);
            let root = symmetric_sqrt(&a, dim).unwrap();
            prop_assert!(largest_difference(&product(&root, &root, dim), &a) <= 1e-12 * (1.0 + trace(&a, dim)));
            for i in 0..dim {
                prop_assert!(root[i * dim + i] >= 0.0);
                for j in 0..i {
                    prop_assert_eq!(root[i * dim + j], root[j * dim + i]);
                }
            }
        }
    }

    #[test]
    fn ill_conditioned_roots_are_right_to_rounding_of_the_largest() {
        // Q diag(10^0 .. 10^-14) Q with a Householder reflection Q, whose root is Q diag(sqrt) Q.
        let dim = 15;
        let mut random = Random::new(7);
        let v: Vec<f64> = (0..dim).map(|_| f64::from(random.normal())).collect();
        let norm: f64 = v.iter().map(|x| x * x).sum();
        let q = |i: usize, j: usize| f64::from(u8::from(i == j)) - 2.0 * v[i] * v[j] / norm;
        let with = |power: f64| -> Vec<f64> {
            let at = |i: usize, j: usize| {
                (0..dim).map(|k| q(i, k) * 10f64.powf(-(k as f64) * power) * q(k, j)).sum()
            };
            (0..dim * dim).map(|index| at(index / dim, index % dim)).collect()
        };
        let root = symmetric_sqrt(&with(1.0), dim).unwrap();
        // An eigenvalue's error of 1e-16 is one of at most 1e-8 in its root, and reached only at the smallest.
        assert!(largest_difference(&root, &with(0.5)) < 2e-8);
        assert!(largest_difference(&product(&root, &root, dim), &with(1.0)) < 1e-14);
    }

    #[test]
    fn negative_eigenvalues_count_as_zero() {
        let root = symmetric_sqrt(&[0.0, 1.0, 1.0, 0.0], 2).unwrap(); // eigenvalues 1 and -1
        assert!(largest_difference(&root, &[0.5; 4]) < 1e-14, "{root:?}");
    }

    #[test]
    fn the_norm_of_a_root_with_itself_is_the_trace_whatever_the_rank() {
        for rank in [1, 3, 12] {
            let a = random_gram(5, 12, rank);
            let root = symmetric_sqrt(&a, 12).unwrap();
            let norm = nuclear_norm_of_product(&root, &root, 12).unwrap();
            assert!((norm - trace(&a, 12)).abs() < 1e-12 * trace(&a, 12), "rank {rank}");
        }
    }

    #[test]
    fn what_is_no_finite_square_matrix_is_refused() {
        let not_square = Err(MetricError::NotSquare { values: 3, dim: 2 });
        assert_eq!(symmetric_sqrt(&[0.0; 3], 2), not_square);
        let values = [1.0, 0.0, f64::NAN, f64::INFINITY];
        assert_eq!(symmetric_sqrt(&values, 2), Err(MetricError::NotFinite { rows: 1, first: 1 }));
        assert!(nuclear_norm_of_product(&[1.0; 4], &values, 2).is_err());
        assert_eq!(symmetric_sqrt(&[], 0), Err(MetricError::NotSquare { values: 0, dim: 0 }));
    }
}
