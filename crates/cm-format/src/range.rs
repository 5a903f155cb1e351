//! What a field's words say of the numbers that may stand there.

/// Bounds of a number, where its words name numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Range {
    /// The smallest, and whether it is still allowed.
    pub least: Option<(f64, bool)>,
    /// The largest, and whether it is still allowed.
    pub most: Option<(f64, bool)>,
}

impl Range {
    /// The range that the first sentence of a doc comment tells: `A to B`, `in [A, B)`, `at least A`, `above A` or `> A`, `at most B`, `below B`.
    /// `None` if it tells none, or bounds that are no numbers, such as other fields.
    ///
    /// ```
    /// use cm_format::Range;
    /// assert_eq!(Range::of("Sides, 1 to 4,096."), Some(Range { least: Some((1.0, true)), most: Some((4096.0, true)) }));
    /// assert_eq!(Range::of("A share, in [0, 1)."), Some(Range { least: Some((0.0, true)), most: Some((1.0, false)) }));
    /// assert_eq!(Range::of("s1, at least `start`."), None);
    /// ```
    pub fn of(doc: &str) -> Option<Self> {
        // What follows speaks of other things as well.
        let words: Vec<&str> = first_sentence(doc).split_whitespace().collect();
        let mut range = Self::default();
        for (at, word) in words.iter().enumerate() {
            let next = |by: usize| words.get(at + by).and_then(|word| number(word));
            let before = at.checked_sub(1).map(|before| words[before]);
            match *word {
                "in" => {
                    let bracket = |word: &&str| word.starts_with(['[', '(']).then(|| word.starts_with('['));
                    let open = words.get(at + 1).and_then(bracket);
                    let closed = words.get(at + 2).map(|word| word.trim_end_matches(['.', ',', ';', ':']));
                    if let (Some(least), Some(most), Some(open), Some(closed)) =
                        (next(1), next(2), open, closed)
                    {
                        range =
                            Self { least: Some((least, open)), most: Some((most, closed.ends_with(']'))) };
                    }
                }
                "to" => {
                    if let (Some(least), Some(most)) = (before.and_then(number), next(1)) {
                        range = Self { least: Some((least, true)), most: Some((most, true)) };
                    }
                }
                "least" if before == Some("at") => {
                    range.least = next(1).map(|least| (least, true)).or(range.least);
                }
                "above" | ">" => range.least = next(1).map(|least| (least, false)).or(range.least),
                ">=" => range.least = next(1).map(|least| (least, true)).or(range.least),
                "most" if before == Some("at") => {
                    range.most = next(1).map(|most| (most, true)).or(range.most);
                }
                "below" | "<" => range.most = next(1).map(|most| (most, false)).or(range.most),
                _ => {}
            }
        }
        (range != Self::default()).then_some(range)
    }
}

/// The first sentence of a text: to a stop before a capital letter, as `et al. 2023` is none.
pub fn first_sentence(text: &str) -> &str {
    let stops = text.match_indices(". ").map(|(at, _)| at);
    let begins = |at: &usize| text[at + 2..].starts_with(|c: char| c.is_uppercase() || c == '`');
    let end = stops.filter(begins).chain(text.find('\n').map(|at| at.saturating_sub(1))).min();
    end.map_or(text, |end| &text[..=end])
}

/// A word as a number: with commas between its digits, and brackets or stops around it.
fn number(word: &str) -> Option<f64> {
    let trimmed = word.trim_matches(['[', ']', '(', ')', '.', ',', ';', ':']);
    let plain = trimmed.replace([',', '_'], "");
    if let Some(exponent) = plain.strip_prefix("2^") {
        return exponent.parse().ok().map(|exponent| 2f64.powi(exponent));
    }
    let number = plain.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    number.then(|| plain.parse().ok()).flatten()
}
