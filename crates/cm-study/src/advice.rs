//! What was probably meant by a plain value where something else is wanted.

use cm_format::{Holds, Range, Type, Variant};

/// The ways in which `written` (a number, a text, a list of them) could be said where `holds` is wanted, as in
/// `Images(1000)` for 1000.
pub(crate) fn instead(written: &str, holds: Holds) -> Vec<String> {
    ways(written, holds, 2)
}

fn ways(written: &str, holds: Holds, deep: usize) -> Vec<String> {
    if deep == 0 {
        return Vec::new();
    }
    match holds {
        Holds::Optional(inner) => ways(written, *inner, deep),
        Holds::List(inner) if fits(written, *inner) => vec![format!("[{written}]")],
        Holds::List(inner) => ways(written, *inner, deep).iter().map(|way| format!("[{way}]")).collect(),
        Holds::Named(name) => {
            let of = Type::named(name);
            match of.variants() {
                [] => settings(written, of).into_iter().map(|settings| format!("({settings})")).collect(),
                variants => variants.iter().flat_map(|variant| of_variant(written, variant, deep)).collect(),
            }
        }
        Holds::Truth | Holds::Whole(_) | Holds::Real | Holds::Text | Holds::File | Holds::Other(_) => {
            Vec::new()
        }
    }
}

fn of_variant(written: &str, variant: &Variant, deep: usize) -> Vec<String> {
    let Some(holds) = variant.holds else { return Vec::new() };
    let name = variant.name;
    if fits(written, holds) {
        let short = written.len() < 40 && in_range(written, variant.doc);
        let value = if short { written } else { ".." };
        return vec![format!("{name}({value})")];
    }
    let Holds::Named(of) = holds else { return Vec::new() };
    let of = Type::named(of);
    match of.variants() {
        [] => settings(written, of).into_iter().map(|settings| format!("{name}({settings})")).collect(),
        _ => ways(written, holds, deep - 1).iter().map(|way| format!("{name}({way})")).collect(),
    }
}

/// The one field that can be meant: the only one of its kind, or the first of those that are given alone.
fn settings(written: &str, of: &Type) -> Option<String> {
    let mut fitting = of.fields().iter().filter(|field| fits(written, field.holds));
    let (first, second) = (fitting.next()?, fitting.next());
    let value = if in_range(written, first.doc) { written } else { ".." };
    second.is_none().then(|| format!("{}: {value}", first.name))
}

/// Whether a plain value is of this kind.
fn fits(written: &str, holds: Holds) -> bool {
    let digits = written.replace('_', "");
    match holds {
        Holds::Whole(most) => digits.parse::<u64>().is_ok_and(|number| number <= most),
        Holds::Real => digits.parse::<f64>().is_ok_and(f64::is_finite),
        Holds::Text | Holds::File => written.len() > 1 && written.starts_with('"') && written.ends_with('"'),
        Holds::Truth => ["true", "false"].contains(&written),
        Holds::Optional(inner) => fits(written, *inner),
        Holds::List(Holds::List(_)) => written.starts_with("[["),
        Holds::List(_) => written.starts_with('['),
        Holds::Named(_) | Holds::Other(_) => false,
    }
}

/// Whether a number lies in the range that words tell.
fn in_range(written: &str, doc: &str) -> bool {
    let Ok(number) = written.replace('_', "").parse::<f64>() else { return true };
    let Range { least, most } = Range::of(doc).unwrap_or_default();
    let above = least.is_none_or(|(least, allowed)| number > least || (allowed && number == least));
    above && most.is_none_or(|(most, allowed)| number < most || (allowed && number == most))
}

/// What is allowed where a whole number is: the one that was written as another, or what one looks like.
pub(crate) fn number_words(written: &str) -> String {
    match written.replace('_', "").parse::<f64>() {
        Ok(number) if number.fract() == 0.0 && (0.0..1e15).contains(&number) => {
            format!("digits alone, as in {number:.0}")
        }
        _ => "digits alone, as in 200000 or 200_000".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_values_are_said_as_the_choices_that_hold_them() {
        let named = |written: &str, name: &'static str| instead(written, Holds::Named(name)).join(", ");
        assert_eq!(named("1000", "Duration"), "Images(1000), Fraction(..)");
        assert_eq!(named("0.05", "Duration"), "Fraction(0.05)");
        assert_eq!(named("0.95", "TargetConfig"), "Ema(0.95), Adaptive(start: 0.95)");
        assert_eq!(named("18", "CurriculumConfig"), "Fixed(num_levels: 18)");
        assert_eq!(named("1e-4", "LearningRateConfig"), "(peak: 1e-4)");
        let averages = Holds::List(&Holds::Named("EmaConfig"));
        assert!(instead("0.999", averages).contains(&"[PerStep(0.999)]".to_owned()));
        assert_eq!(instead("3", Holds::List(&Holds::Whole(u64::MAX))), ["[3]"]);
        assert!(named("\"data/mnist\"", "DatasetConfig").contains("Prepared(path: \"data/mnist\")"));
    }
}
