//! A long name in several lines, for drawings: nothing of it is cut off.

/// The lines of a name, each of at most `most` letters, which must be above 0; broken behind `_`, `-`, `,` or a space where
/// there is one in the latter half of a line.
pub(super) fn wrapped(name: &str, most: usize) -> Vec<String> {
    let mut rest: Vec<char> = name.chars().collect();
    let mut lines = Vec::new();
    while rest.len() > most {
        let breaks = |at: &usize| matches!(rest[at - 1], '_' | '-' | ',' | ' ');
        let end = (most / 2 + 1..=most).rev().find(breaks).unwrap_or(most);
        let after = rest.split_off(end);
        lines.push(rest.into_iter().collect::<String>().trim().to_owned());
        rest = after;
    }
    lines.push(rest.into_iter().collect::<String>().trim().to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_letter_is_lost_and_no_line_is_too_long() {
        assert_eq!(wrapped("one-step", 20), ["one-step"]);
        assert_eq!(wrapped("batch-32_distance-L1, one-step", 21), ["batch-32_distance-L1,", "one-step"]);
        let name = "ä".repeat(25);
        let lines = wrapped(&name, 10);
        assert_eq!((lines.len(), lines.concat()), (3, name));
    }
}
