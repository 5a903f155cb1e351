//! What a data set holds, for people to look at.

use crate::{Dataset, DatasetError};
use cm_image::ImageShape;

/// Numbers of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Images.
    pub images: usize,
    /// Shape of one.
    pub shape: ImageShape,
    /// Mean of each channel, in [-1, 1].
    pub means: Vec<f64>,
    /// Standard deviation of each channel about its mean.
    pub deviations: Vec<f64>,
    /// The standard deviation of all values about their common mean.
    pub sigma_data: f64,
    /// Images of each class; `None` without classes.
    pub histogram: Option<Vec<usize>>,
}

impl Summary {
    /// Looks at every image. Sums are of `f64`.
    ///
    /// # Errors
    /// [`DatasetError`] without images, or if one cannot be read.
    pub fn of(dataset: &dyn Dataset) -> Result<Self, DatasetError> {
        if dataset.is_empty() {
            return Err(DatasetError::Empty);
        }
        let shape = dataset.shape();
        let mut sums = vec![(0.0, 0.0); shape.channels];
        let mut histogram = dataset.num_classes().map(|classes| vec![0; classes]);
        let mut image = vec![0.0; shape.len()];
        for index in 0..dataset.len() {
            dataset.write_image(index, &mut image)?;
            for pixel in image.chunks_exact(shape.channels) {
                for (&value, (sum, squares)) in pixel.iter().zip(&mut sums) {
                    let value = f64::from(value);
                    *sum += value;
                    *squares += value * value;
                }
            }
            if let (Some(histogram), Some(label)) = (&mut histogram, dataset.label(index)) {
                histogram[label as usize] += 1;
            }
        }
        let count = (dataset.len() * shape.height * shape.width) as f64;
        let spread = |sum: f64, squares: f64, count: f64| {
            let mean = sum / count;
            (squares / count - mean * mean).max(0.0).sqrt()
        };
        let (sum, squares) = sums.iter().fold((0.0, 0.0), |(a, b), &(sum, squares)| (a + sum, b + squares));
        Ok(Self {
            images: dataset.len(),
            shape,
            means: sums.iter().map(|&(sum, _)| sum / count).collect(),
            deviations: sums.iter().map(|&(sum, squares)| spread(sum, squares, count)).collect(),
            sigma_data: spread(sum, squares, count * shape.channels as f64),
            histogram,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Digits, Split, sigma_data};

    #[test]
    fn the_digits_are_summed_up() {
        let digits = Digits::new(Split::Test).unwrap();
        let summary = Summary::of(&digits).unwrap();
        assert_eq!((summary.images, summary.shape), (297, ImageShape::new(8, 8, 1)));
        assert_eq!(summary.histogram, Some(vec![35, 22, 24, 32, 37, 30, 37, 22, 32, 26]));
        assert!((summary.sigma_data - f64::from(sigma_data(&digits).unwrap())).abs() < 1e-6);
        assert!((summary.deviations[0] - summary.sigma_data).abs() < 1e-12);
        let mean = digits.all_images().unwrap().values().iter().map(|&v| f64::from(v)).sum::<f64>();
        assert!((summary.means[0] - mean / (297.0 * 64.0)).abs() < 1e-12);
    }
}
