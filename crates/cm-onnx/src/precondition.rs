//! The factors around a network as nodes: what [`cm_diffusion::Precondition`] works out for one noise level, for each image.

use crate::builder::{Attribute, Builder, Value};
use crate::proto::data_type;
use cm_diffusion::Iddpm;
use cm_study::{IddpmConfig, PreconditionConfig, VpConfig, WeightsCard};

/// One value for each image, N; none where the factor is 1.
pub(crate) struct Factors {
    pub(crate) skip: Option<Value>,
    pub(crate) out: Value,
    pub(crate) input: Option<Value>,
    pub(crate) noise: Value,
}

/// The factors at the noise level `sigma` of each image.
pub(crate) fn factors(b: &mut Builder, card: &WeightsCard, sigma: &Value) -> Factors {
    let data = card.sigma_data;
    match card.precondition {
        PreconditionConfig::Consistency => of_data(b, sigma, data, card.sigma_min),
        PreconditionConfig::Edm => of_data(b, sigma, data, 0.0),
        PreconditionConfig::Ve => {
            let half = b.scaled(sigma, 0.5);
            Factors { skip: None, out: sigma.clone(), input: None, noise: log(b, &half) }
        }
        PreconditionConfig::Vp(VpConfig { beta_d, beta_min, steps }) => {
            let squares = b.mul(sigma, sigma);
            let above = b.plus(&squares, 1.0);
            let grown = log(b, &above);
            let grown = b.scaled(&grown, 2.0 * beta_d);
            let root = b.plus(&grown, beta_min * beta_min);
            let root = b.node("Sqrt", &[&root], &[]);
            let time = b.plus(&root, -beta_min);
            let by = b.number(beta_d);
            let time = b.div(&time, &by);
            let noise = b.scaled(&time, steps - 1.0);
            let (out, input) = variance_preserving(b, sigma);
            Factors { skip: None, out, input: Some(input), noise }
        }
        PreconditionConfig::Iddpm(IddpmConfig { c1, c2, steps }) => {
            let levels = Iddpm::new(c1, c2, steps);
            let levels: Vec<f32> = levels.levels().iter().map(|&level| level as f32).collect();
            let row = b.floats(&[1, levels.len()], &levels);
            let column = b.unsqueeze(sigma, &[1]);
            let apart = b.sub(&column, &row);
            let apart = b.node("Abs", &[&apart], &[]);
            let nearest = [("axis", Attribute::Int(1)), ("keepdims", Attribute::Int(0))];
            let nearest = b.node("ArgMin", &[&apart], &nearest);
            let to = [("to", Attribute::Int(i64::from(data_type::FLOAT)))];
            let nearest = b.node("Cast", &[&nearest], &to);
            let count = b.number(levels.len() as f32 - 2.0);
            let noise = b.sub(&count, &nearest);
            let (out, input) = variance_preserving(b, sigma);
            Factors { skip: None, out, input: Some(input), noise }
        }
    }
}

/// Those of Karras et al. 2022 and, with a lowest level above 0, of Song et al. 2023.
fn of_data(b: &mut Builder, sigma: &Value, data: f32, lowest: f32) -> Factors {
    let variance = data * data;
    let square = |b: &mut Builder, value: &Value| {
        let square = b.mul(value, value);
        b.plus(&square, variance)
    };
    let above = if lowest == 0.0 { sigma.clone() } else { b.plus(sigma, -lowest) };
    let total = square(b, sigma);
    let norm = b.node("Sqrt", &[&total], &[]);
    let from_lowest = square(b, &above);
    let variance = b.number(variance);
    let skip = b.div(&variance, &from_lowest);
    let out = b.scaled(&above, data);
    let out = b.div(&out, &norm);
    let input = b.node("Reciprocal", &[&norm], &[]);
    let noise = log(b, sigma);
    let noise = b.scaled(&noise, 0.25);
    Factors { skip: Some(skip), out, input: Some(input), noise }
}

/// c_out and c_in where noise is added to an image of variance 1 that is scaled.
fn variance_preserving(b: &mut Builder, sigma: &Value) -> (Value, Value) {
    let squares = b.mul(sigma, sigma);
    let norm = b.plus(&squares, 1.0);
    let norm = b.node("Sqrt", &[&norm], &[]);
    (b.node("Neg", &[sigma], &[]), b.node("Reciprocal", &[&norm], &[]))
}

/// The logarithm, of the least number at least.
fn log(b: &mut Builder, value: &Value) -> Value {
    let least = b.number(f32::MIN_POSITIVE);
    let above = b.node("Max", &[value, &least], &[]);
    b.node("Log", &[&above], &[])
}
