//! The page in the documentation: what was measured stands between two marks.

const START: &str = "<!-- measured: start -->\n";
const END: &str = "<!-- measured: end -->\n";

/// The page with something else between the marks; `None` when it does not have both of them, once.
#[must_use]
pub fn replace(page: &str, measured: &str) -> Option<String> {
    let (before, rest) = page.split_once(START)?;
    let (old, after) = rest.split_once(END)?;
    if [before, old, after].iter().any(|part| part.contains(START) || part.contains(END)) {
        return None;
    }
    Some(format!("{before}{START}{measured}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::{END, START, replace};

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let page = format!("a\n{START}old\n{END}b\n");
        assert_eq!(replace(&page, "new\n").unwrap(), format!("a\n{START}new\n{END}b\n"));
        for page in ["a", START, END, &format!("{END}{START}"), &format!("{START}{START}{END}")] {
            assert!(replace(page, "").is_none(), "{page}");
        }
    }
}
