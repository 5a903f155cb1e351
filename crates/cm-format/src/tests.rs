use super::*;

/// Every field of the format with the path it has in its type.
fn fields() -> impl Iterator<Item = (String, &'static Field)> {
    types()
        .iter()
        .flat_map(|of| of.fields().iter().map(|field| (format!("{}.{}", of.name, field.name), field)))
}

fn none(missing: &[String], what: &str) {
    assert!(missing.is_empty(), "{what}:\n{}", missing.join("\n"));
}

#[test]
fn every_field_and_every_choice_has_its_words() {
    let unsaid = fields().filter(|(_, field)| field.doc.is_empty()).map(|(path, _)| path);
    let variants = types().iter().flat_map(|of| of.variants().iter().map(move |variant| (of.name, variant)));
    let unsaid_variants = variants
        .filter(|(_, variant)| variant.doc.is_empty())
        .map(|(of, variant)| format!("{of}::{}", variant.name));
    none(&unsaid.chain(unsaid_variants).collect::<Vec<_>>(), "without words");
    none(
        &types().iter().filter(|of| of.doc.is_empty()).map(|of| of.name.to_owned()).collect::<Vec<_>>(),
        "without words",
    );
}

/// The example of the weightings stood as a text in the reference.
#[test]
fn no_text_holds_an_example_in_rust() {
    let of_members = |of: &'static Type| {
        let fields = of.fields().iter().map(|field| field.doc);
        fields.chain(of.variants().iter().map(|variant| variant.doc))
    };
    let texts = types().iter().flat_map(|of| std::iter::once(of.doc).chain(of_members(of)));
    none(&texts.filter(|text| text.contains("```")).map(str::to_owned).collect::<Vec<_>>(), "examples");
}

#[test]
fn every_number_has_a_range_or_says_that_it_may_be_any() {
    let open = ["any", "a multiple of", "a power of two", "divides", "at least `", "above `", "> `"];
    let told = |doc: &str| Range::of(doc).is_some() || open.iter().any(|word| doc.contains(word));
    let unsaid = fields().filter(|(_, field)| field.holds.is_number() && !told(field.doc));
    let variants = types().iter().flat_map(|of| of.variants().iter().map(move |variant| (of.name, variant)));
    let unsaid_variants = variants
        .filter(|(_, variant)| variant.holds.is_some_and(|holds| holds.is_number()) && !told(variant.doc))
        .map(|(of, variant)| format!("{of}::{}: {}", variant.name, variant.doc));
    let unsaid = unsaid.map(|(path, field)| format!("{path}: {}", field.doc));
    none(&unsaid.chain(unsaid_variants).collect::<Vec<_>>(), "numbers without a range");
}

#[test]
fn every_default_has_its_origin_or_must_be_given() {
    // A type of its own has its default, with its origin, beside it.
    let own = |holds: Holds| match holds {
        Holds::Named(name) => match Type::named(name).shape {
            Shape::Struct(_) => true,
            Shape::Enum(choice) => !choice.default.is_empty(),
        },
        _ => false,
    };
    let told = |field: &Field| {
        field.required || own(field.holds) || (!field.source.is_empty() && field.source != "the same")
    };
    let unsaid = fields().filter(|(_, field)| !told(field));
    none(&unsaid.map(|(path, _)| path).collect::<Vec<_>>(), "defaults without an origin");
    let choices = types().iter().filter_map(|of| match of.shape {
        Shape::Enum(choice) => Some((of.name, choice)),
        Shape::Struct(_) => None,
    });
    let unsaid = choices.filter(|(_, choice)| !choice.default.is_empty() && choice.source.is_empty());
    none(&unsaid.map(|(name, _)| name.to_owned()).collect::<Vec<_>>(), "defaults without an origin");
}

#[test]
fn words_for_people_name_no_rust() {
    let rust =
        |text: &str| ["::", "Config", "[`", "impl ", "usize", "f32"].iter().any(|rust| text.contains(rust));
    let texts = fields().flat_map(|(path, field)| [(path.clone(), field.doc), (path, field.source)]);
    let variants =
        types().iter().flat_map(|of| of.variants().iter().map(|variant| (of.name.to_owned(), variant.doc)));
    let found = texts.chain(variants).filter(|(_, text)| rust(text));
    none(
        &found.map(|(path, text)| format!("{path}: {text}")).collect::<Vec<_>>(),
        "Rust in words for people",
    );
}

#[test]
fn nothing_holds_a_form_that_is_not_known() {
    let other = fields().filter(|(_, field)| matches!(field.holds, Holds::Other(_)));
    none(&other.map(|(path, _)| path).collect::<Vec<_>>(), "unknown forms");
}

#[test]
fn ranges_are_read_from_words() {
    let range = |least, most| Some(Range { least, most });
    assert_eq!(Range::of("b, -40 to 40."), range(Some((-40.0, true)), Some((40.0, true))));
    assert_eq!(Range::of("mu0, in (0, 1)."), range(Some((0.0, false)), Some((1.0, false))));
    assert_eq!(Range::of("A share, above 0 and at most 1."), range(Some((0.0, false)), Some((1.0, true))));
    assert_eq!(Range::of("Deviation, >= 0."), range(Some((0.0, true)), None));
    assert_eq!(Range::of("Any number."), None);
}
