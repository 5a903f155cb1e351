//! Text in columns that a terminal has.

/// Columns of a terminal at least.
const COLUMNS: usize = 80;

/// A text in lines of at most so many characters, broken between words; paragraphs stay apart.
pub(crate) fn wrapped(text: &str, columns: usize) -> String {
    let mut out = String::new();
    for paragraph in text.lines() {
        let mut width = 0;
        for word in paragraph.split_whitespace() {
            let length = word.chars().count();
            if width > 0 && width + 1 + length > columns {
                out.push('\n');
                width = 0;
            } else if width > 0 {
                out.push(' ');
                width += 1;
            }
            out += word;
            width += length;
        }
        out.push('\n');
    }
    out
}

/// The same behind an indentation, within the columns of a terminal; longer words stick out. Ends with a line's end.
pub(crate) fn indented(text: &str, by: usize) -> String {
    let columns = COLUMNS.saturating_sub(by);
    wrapped(text, columns).lines().map(|line| format!("{}{line}\n", " ".repeat(by))).collect()
}

/// The same as comments of RON, within 100 columns.
pub(crate) fn indented_comment(text: &str, by: usize) -> String {
    let lines = wrapped(text, 97usize.saturating_sub(by));
    lines.lines().map(|line| format!("{}// {line}\n", " ".repeat(by))).collect()
}

/// Two columns: a name, and behind column `at` a text. A name that is longer has a line of its own.
pub(crate) fn columns(name: &str, at: usize, text: &str) -> String {
    let text = indented(text, at);
    match name.chars().count() + 1 < at {
        true => format!("{name}{}", text.get(name.chars().count()..).unwrap_or("\n")),
        false => format!("{name}\n{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_whole_and_lines_short() {
        assert_eq!(wrapped("one two three", 7), "one two\nthree\n");
        assert_eq!(wrapped("a\n\nb", 9), "a\n\nb\n");
        assert_eq!(indented("x", 2), "  x\n");
        assert_eq!(columns("ab", 6, "text"), "ab    text\n");
        assert_eq!(columns("abcdef", 6, "text"), "abcdef\n      text\n");
    }
}
