//! What a kernel takes, read from its source: so that no launch can give it something else.

use crate::element::Element;
use crate::source::{Source, Variant};

/// The type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// Values that are read.
    Read(Element),
    /// Values that are written.
    Write(Element),
    /// A 32-bit number.
    Int,
    /// A 64-bit number.
    Long,
    /// A number in single precision.
    Float,
}

/// A kernel's name without its variant, the threads of its blocks, and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) name: String,
    pub(crate) threads: u32,
    pub(crate) parameters: Vec<Parameter>,
}

/// The kernels of a file.
///
/// # Panics
/// If one is not written as expected: `KERNEL(threads, name)(type name, ...)`.
pub(crate) fn signatures(source: &Source, variant: Variant) -> Vec<Signature> {
    source.text.split("\nKERNEL(").skip(1).map(|text| signature(text, variant)).collect()
}

fn signature(text: &str, variant: Variant) -> Signature {
    let wrong = || -> ! { panic!("no kernel begins so: {}", text.lines().next().unwrap_or_default()) };
    let Some((head, rest)) = text.split_once(")(") else { wrong() };
    let Some((parameters, _)) = rest.split_once(')') else { wrong() };
    let Some((threads, name)) = head.split_once(", ") else { wrong() };
    let Ok(threads) = threads.parse() else { wrong() };
    Signature {
        name: name.to_owned(),
        threads,
        parameters: parameters.split(',').map(|text| parameter(text, variant)).collect(),
    }
}

fn parameter(text: &str, variant: Variant) -> Parameter {
    let words: Vec<&str> = text.split_whitespace().filter(|word| *word != "__restrict__").collect();
    let (constant, words) = match words.split_first() {
        Some((&"const", rest)) => (true, rest),
        _ => (false, &words[..]),
    };
    let element = match words.first() {
        Some(&"real*") => variant.element(),
        Some(&"float*") => Element::F32,
        Some(&"uint16_t*") => Element::Bf16,
        Some(&"uint32_t*") => Element::U32,
        Some(&"uint64_t*") => Element::U64,
        Some(&"int") => return Parameter::Int,
        Some(&"int64_t") => return Parameter::Long,
        Some(&"float") => return Parameter::Float,
        _ => panic!("a kernel's parameter of an unknown type: {text}"),
    };
    if constant { Parameter::Read(element) } else { Parameter::Write(element) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::ALL;

    #[test]
    fn a_signature_is_read_from_the_source() {
        let text =
            "\nKERNEL(128, f)(const real* __restrict__ x, float* y, int n,\n  int64_t m, float s) {\n}\n";
        let source = Source { file: "f.cu", text, variants: &[] };
        let parameters = vec![
            Parameter::Read(Element::Bf16),
            Parameter::Write(Element::F32),
            Parameter::Int,
            Parameter::Long,
            Parameter::Float,
        ];
        let expected = Signature { name: "f".to_owned(), threads: 128, parameters };
        assert_eq!(signatures(&source, Variant::Bf16), [expected]);
    }

    #[test]
    fn every_kernel_s_signature_can_be_read_and_no_name_stands_twice() {
        let mut names = Vec::new();
        for source in ALL {
            let found = signatures(source, source.variants[0]);
            assert_eq!(found.len(), source.text.matches("KERNEL(").count(), "{}", source.file);
            assert!(found.iter().all(|kernel| kernel.threads.is_multiple_of(32) && kernel.threads <= 1024));
            names.extend(found.into_iter().map(|kernel| kernel.name));
        }
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
