//! The whole models: what goes in and comes out, the preconditioning, and what is said of them.

use crate::builder::{Builder, Element, Value};
use crate::emission::{Givens, Noise, emit};
use crate::error::OnnxError;
use crate::file::{MOST, OnnxFile};
use crate::precondition::factors;
use crate::proto::{ModelProto, OperatorSetIdProto, StringStringEntryProto};
use cm_diffusion::Sigma;
use cm_network::feature_net::Classifier;
use cm_network::{Network, Weights};
use cm_study::WeightsCard;
use cm_tensor::Trace;
use std::collections::BTreeMap;

/// The version of ONNX's operators: the first with attention.
pub const OPSET: i64 = 23;

/// The version of the file's structure that came with [`OPSET`].
const IR_VERSION: i64 = 11;

/// Which function of the network a model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `noise`, standard normal (N, C, H, W), and `class` (N) to `image`: f(sigma_max noise, sigma_max), one evaluation of a
    /// consistency model.
    Generator,
    /// `x` (N, C, H, W), `sigma` (N) and `class` (N) to `denoised`: a diffusion model's D(x, sigma), a consistency model's
    /// f(x, sigma).
    Denoiser,
}

impl Form {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Generator => "generator",
            Self::Denoiser => "denoiser",
        }
    }
}

/// The ONNX file of a network with these weights, used as the card says. `about` is what the file says of itself
/// (`metadata_props`). `class` is an input if and only if the network knows classes; it is of 64-bit integers, and -1 stands
/// for no class.
///
/// # Errors
/// [`OnnxError`] if the card has no such form, or the network takes a second time.
pub fn encode(
    form: Form,
    card: &WeightsCard,
    network: &dyn Network,
    weights: &Weights,
    about: &BTreeMap<String, String>,
) -> Result<OnnxFile, OnnxError> {
    let trace = network.traced(weights);
    let mut b = Builder::default();
    let extents = [card.channels, card.height, card.width];
    match form {
        Form::Generator if !card.precondition.is_consistency() => return Err(OnnxError::NoGenerator),
        Form::Generator => generator(&mut b, card, &trace, weights, &extents)?,
        Form::Denoiser => denoiser(&mut b, card, &trace, weights, &extents)?,
    }
    let doc = format!("{} of a {}", form.name(), card.precondition);
    Ok(OnnxFile::new(form.name(), model(b, form.name(), doc, about), MOST))
}

/// The ONNX file of a classifier with these weights: `image` (N, C, H, W), pixels from -1 to 1, to `logits` (N, classes) and
/// `features` (N, features), by which sets of images are compared. `about` is what the file says of itself.
///
/// # Errors
/// None: its operations are all known; [`OnnxError`] as of [`encode`].
pub fn encode_classifier(
    classifier: &Classifier,
    weights: &Weights,
    about: &BTreeMap<String, String>,
) -> Result<OnnxFile, OnnxError> {
    let trace = classifier.traced(weights);
    let mut b = Builder::default();
    let shape = classifier.shape();
    let extents = [shape.channels, shape.height, shape.width];
    let images = b.input("image", Element::Float, &extents, "pixels from -1 to 1");
    let made = emit(&mut b, &trace, weights, &Givens { images, noise: Noise::Known(0.0), class: None })?;
    let [.., features, logits] = made.as_slice() else {
        unreachable!("a classifier maps features to logits")
    };
    b.output("logits", logits, &[classifier.classes()], "the logarithms of probabilities, up to a constant");
    b.output("features", features, &[classifier.features()], "the mean over pixels of the last feature maps");
    let name = "classifier";
    Ok(OnnxFile::new(name, model(b, name, format!("{name} of images"), about), MOST))
}

fn model(b: Builder, name: &str, doc: String, about: &BTreeMap<String, String>) -> ModelProto {
    let entry = |(key, value): (&String, &String)| StringStringEntryProto {
        key: Some(key.clone()),
        value: Some(value.clone()),
    };
    ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("cm".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        doc_string: Some(doc),
        graph: Some(b.graph(name)),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
        metadata_props: about.iter().map(entry).collect(),
    }
}

/// What a network makes is what its last step makes.
fn last(mut made: Vec<Value>) -> Value {
    made.pop().expect("a network has steps")
}

fn class(b: &mut Builder, card: &WeightsCard) -> Option<Value> {
    card.classes.map(|classes| {
        b.input("class", Element::Integer, &[], &format!("0 to {}, or -1 for none", classes - 1))
    })
}

fn generator(
    b: &mut Builder,
    card: &WeightsCard,
    trace: &Trace,
    weights: &Weights,
    extents: &[usize],
) -> Result<(), OnnxError> {
    let noise = b.input("noise", Element::Float, extents, "standard normal");
    let class = class(b, card);
    let highest = Sigma::new(card.sigma_max).expect("a card that was opened has a range of noise levels");
    let c = card.precondition(None).coefficients(highest);
    let x = b.scaled(&noise, card.sigma_max);
    let images = b.scaled(&x, c.c_in);
    let raw = last(emit(b, trace, weights, &Givens { images, noise: Noise::Known(c.c_noise), class })?);
    let (skipped, raw) = (b.scaled(&x, c.c_skip), b.scaled(&raw, c.c_out));
    let image = b.add(&skipped, &raw);
    b.output("image", &image, extents, "pixels from -1 to 1, not clipped");
    Ok(())
}

fn denoiser(
    b: &mut Builder,
    card: &WeightsCard,
    trace: &Trace,
    weights: &Weights,
    extents: &[usize],
) -> Result<(), OnnxError> {
    let x = b.input("x", Element::Float, extents, "images plus sigma times standard normal noise");
    let sigma = b.input("sigma", Element::Float, &[], "the standard deviation of the noise");
    let class = class(b, card);
    let factors = factors(b, card, &sigma);
    let scaled = |b: &mut Builder, value: &Value, factor: &Option<Value>| match factor {
        None => value.clone(),
        Some(factor) => {
            let factor = b.reshape(factor, &[-1, 1, 1, 1]);
            b.mul(value, &factor)
        }
    };
    let images = scaled(b, &x, &factors.input);
    let raw = last(emit(b, trace, weights, &Givens { images, noise: Noise::Each(factors.noise), class })?);
    let (skipped, raw) = (scaled(b, &x, &factors.skip), scaled(b, &raw, &Some(factors.out)));
    let denoised = b.add(&skipped, &raw);
    b.output("denoised", &denoised, extents, "pixels from -1 to 1, not clipped");
    Ok(())
}
