//! The whole models: what goes in and comes out, the preconditioning, and what is said of them.

use crate::builder::{Builder, Element, Value};
use crate::emission::{Givens, Noise, emit};
use crate::error::OnnxError;
use crate::precondition::factors;
use crate::proto::{ModelProto, OperatorSetIdProto, StringStringEntryProto};
use cm_diffusion::Sigma;
use cm_network::{Network, Weights};
use cm_study::WeightsCard;
use cm_tensor::Trace;
use prost::Message;
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

/// The bytes of an ONNX file of a network with these weights, used as the card says. `about` is what the file says of
/// itself (`metadata_props`). `class` is an input if and only if the network knows classes; it is of 64-bit integers, and -1
/// stands for no class.
///
/// # Errors
/// [`OnnxError`] if the card has no such form, the network takes a second time, or the file would be too large.
pub fn encode(
    form: Form,
    card: &WeightsCard,
    network: &dyn Network,
    weights: &Weights,
    about: &BTreeMap<String, String>,
) -> Result<Vec<u8>, OnnxError> {
    let trace = network.traced(weights);
    let mut b = Builder::default();
    let extents = [card.channels, card.height, card.width];
    match form {
        Form::Generator if !card.precondition.is_consistency() => return Err(OnnxError::NoGenerator),
        Form::Generator => generator(&mut b, card, &trace, weights, &extents)?,
        Form::Denoiser => denoiser(&mut b, card, &trace, weights, &extents)?,
    }
    let entry = |(key, value): (&String, &String)| StringStringEntryProto {
        key: Some(key.clone()),
        value: Some(value.clone()),
    };
    let model = ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("cm".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        doc_string: Some(format!("{} of a {}", form.name(), card.precondition)),
        graph: Some(b.graph(form.name())),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
        metadata_props: about.iter().map(entry).collect(),
    };
    match model.encoded_len() {
        bytes if bytes > i32::MAX as usize => Err(OnnxError::TooLarge { bytes }),
        _ => Ok(model.encode_to_vec()),
    }
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
    let raw = emit(b, trace, weights, &Givens { images, noise: Noise::Known(c.c_noise), class })?;
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
    let raw = emit(b, trace, weights, &Givens { images, noise: Noise::Each(factors.noise), class })?;
    let (skipped, raw) = (scaled(b, &x, &factors.skip), scaled(b, &raw, &Some(factors.out)));
    let denoised = b.add(&skipped, &raw);
    b.output("denoised", &denoised, extents, "pixels from -1 to 1, not clipped");
    Ok(())
}
