//! What a patch does and where it comes from, in the room that its record has.

/// Most bytes of a description, its terminator left out.
pub(crate) const MOST: usize = 127;
/// Stands for what is left out.
pub(crate) const ELLIPSIS: &str = "...";

/// A text that can stand in a C string and in the record.
pub(crate) fn description(text: &str) -> String {
    shortened(&plain(text), MOST)
}

/// What a patch does and where it comes from, as a patch's description. What it does gives way to
/// where it comes from.
#[must_use]
pub fn described(what: Option<&str>, origin: &str) -> String {
    let (what, origin) = (plain(what.unwrap_or_default()), plain(origin));
    let room = MOST.saturating_sub(origin.len() + " ()".len());
    if what.is_empty() || room <= ELLIPSIS.len() {
        return shortened_inside(&origin, MOST);
    }
    format!("{} ({origin})", shortened(&what, room))
}

/// In ASCII, without what means something in a C string.
fn plain(text: &str) -> String {
    let plain = |c: char| match c {
        '"' => '\'',
        '\\' => '/',
        ' '..='~' => c,
        _ => '?',
    };
    text.chars().map(plain).collect()
}

/// The start of an ASCII text, in so many bytes.
fn shortened(text: &str, most: usize) -> String {
    match text.get(..most.saturating_sub(ELLIPSIS.len())) {
        Some(start) if text.len() > most => format!("{}{ELLIPSIS}", start.trim_end()),
        _ => text.to_owned(),
    }
}

/// The start and the end of an ASCII text, in so many bytes.
fn shortened_inside(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let half = text.get(text.len() - most / 2..).unwrap_or_default();
    format!("{}{half}", shortened(text, most - half.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_cannot_leave_their_strings() {
        assert_eq!(description("a \"b\" \\ \n\u{e9}"), "a 'b' / ??");
        assert_eq!(description(&"x".repeat(500)).len(), MOST);
    }

    #[test]
    fn a_long_description_keeps_where_the_patch_comes_from() {
        let origin = "move_vma of Debian 6.1.192-2";
        assert_eq!(described(None, origin), origin);
        assert_eq!(described(Some("fixes it"), origin), format!("fixes it ({origin})"));
        let long = "word ".repeat(40);
        let text = described(Some(&long), origin);
        assert!(text.ends_with(&format!("... ({origin})")), "{text}");
        assert!((MOST - 1..=MOST).contains(&text.len()), "{text}");
        assert_eq!(description(&text), text);
        let exact = "x".repeat(MOST - origin.len() - 3);
        assert_eq!(described(Some(&exact), origin), format!("{exact} ({origin})"));
        let more = described(Some(&(exact.clone() + "x")), origin);
        assert_eq!(more, format!("{}... ({origin})", &exact[3..]));
    }

    #[test]
    fn a_long_origin_is_shortened_inside() {
        let origin = format!("{}last_function of Debian 6.1.192-2", "function, ".repeat(20));
        let text = described(Some("fixes it"), &origin);
        assert!(text.starts_with("function, function, "), "{text}");
        assert!(text.contains("..."), "{text}");
        assert!(text.ends_with("last_function of Debian 6.1.192-2"), "{text}");
        assert!((MOST - 1..=MOST).contains(&text.len()), "{text}");
        let just = "x".repeat(MOST);
        assert_eq!(described(Some("fixes it"), &just), just);
    }
}
