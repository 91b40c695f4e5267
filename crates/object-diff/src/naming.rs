//! Names that compilers number anew with every build.

/// Suffixes of functions that the compiler made of another.
const CLONES: [&str; 3] = ["constprop", "isra", "part"];

/// What the kernel calls when it loads a module.
pub(crate) const MODULE_ENTRY: &str = "init_module";

/// A name without the numbers that the compiler or the kernel's macros put into it:
/// `count.12` -> `count.`, `foo.isra.3.cold` -> `foo.isra..cold`, `__UNIQUE_ID_ddebug277.4` ->
/// `__UNIQUE_ID_ddebug.`.
pub(crate) fn without_numbers(name: &str) -> String {
    let mut parts = name.split('.');
    let first = parts.next().unwrap_or_default();
    let is_counted = first.starts_with("__UNIQUE_ID_");
    let first =
        if is_counted { first.trim_end_matches(|c: char| c.is_ascii_digit()) } else { first };
    let mut result = first.to_owned();
    for part in parts {
        result.push('.');
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number {
            result.push_str(part);
        }
    }
    result
}

/// A function's name in the source.
pub(crate) fn source_name(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Part of a function that is never called, only jumped to: `foo.cold`, `foo.cold.3`.
pub(crate) fn parent_of_split_part(name: &str) -> Option<&str> {
    let (parent, rest) = name.split_once(".cold")?;
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    rest.bytes().all(|byte| byte.is_ascii_digit()).then_some(parent)
}

/// A copy that the compiler made for some callers; they know how to call it, nobody else does.
pub(crate) fn is_clone(name: &str) -> bool {
    name.split('.').skip(1).any(|part| CLONES.contains(&part))
}

/// The name counts nothing: it stands for its content.
pub(crate) fn is_content_only(name: &str) -> bool {
    let first = name.split('.').next().unwrap_or_default();
    name.contains('.')
        && ["__func__", "__FUNCTION__", "__PRETTY_FUNCTION__", "CSWTCH", "C"].contains(&first)
}

/// What the kernel's headers call the entry and the exit of every module; the source has other names
/// for them.
pub(crate) fn is_module_entry(name: &str) -> bool {
    [MODULE_ENTRY, "cleanup_module"].contains(&name)
}

/// What the kernel's index of messages has of a message: constant, and nothing in the code leads to it.
pub(crate) fn is_index_entry(name: &str) -> bool {
    let first = name.split('.').next().unwrap_or_default();
    name.contains('.') && ["_entry", "_entry_ptr"].contains(&first)
}

/// What the kernel knows of a debug message: its text, function and line, and whether it is switched
/// on. The message itself has its text in the code.
pub(crate) fn is_debug_message(name: &str) -> bool {
    name.starts_with("__UNIQUE_ID_ddebug")
}

/// A variable's name in the source: without the numbers that make it unique.
pub(crate) fn declared_name(name: &str) -> String {
    let mut name = without_numbers(name);
    name.truncate(name.find('.').unwrap_or(name.len()));
    name
}

#[cfg(test)]
mod tests {
    use super::{
        declared_name, is_clone, is_content_only, is_debug_message, is_index_entry,
        parent_of_split_part, without_numbers,
    };

    #[test]
    fn numbers_of_compilers_and_macros_go() {
        assert_eq!(without_numbers("count.12"), "count.");
        assert_eq!(without_numbers("foo.isra.3.cold"), "foo.isra..cold");
        assert_eq!(without_numbers("__UNIQUE_ID_ddebug277.4"), "__UNIQUE_ID_ddebug.");
        assert_eq!(without_numbers("x86_64_start"), "x86_64_start");
        assert_eq!(without_numbers("md5"), "md5");
    }

    #[test]
    fn split_parts_have_parents() {
        assert_eq!(parent_of_split_part("foo.cold"), Some("foo"));
        assert_eq!(parent_of_split_part("foo.part.0.cold.7"), Some("foo.part.0"));
        assert_eq!(parent_of_split_part("foo.colder"), None);
        assert_eq!(parent_of_split_part("foo"), None);
    }

    #[test]
    fn kinds_of_names() {
        assert!(is_clone("foo.constprop.0") && is_clone("foo.part.1") && !is_clone("isra"));
        assert!(is_content_only("__func__.3") && is_content_only("CSWTCH.40"));
        assert!(!is_content_only("C") && !is_content_only("CSWTCH"));
        assert!(is_index_entry("_entry.3") && !is_index_entry("_entry"));
        assert!(is_debug_message("__UNIQUE_ID_ddebug2.1") && !is_debug_message("__already_done.0"));
        assert_eq!(declared_name("__UNIQUE_ID_ddebug277.4"), "__UNIQUE_ID_ddebug");
        assert_eq!(declared_name("count.12"), "count");
    }
}
