//! What a C file in the kernel's style says without being compiled: its functions and words.

/// A function's definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name; for a system call that of the C function that the macro makes.
    pub name: String,
    /// The first line of its head, from 0.
    pub start: usize,
    /// The line behind its closing brace.
    pub end: usize,
}

/// The functions of a file whose bodies begin and end with a brace in the first column.
#[must_use]
pub fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let mut functions: Vec<Function> = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        let body = *line == "{" || line.starts_with("{ ") || line.starts_with("{\t");
        let after = functions.last().map_or(0, |function| function.end);
        if body && let Some((start, name)) = head(&lines, after, at) {
            let end = lines.iter().skip(at).position(|line| line.starts_with('}'));
            let end = end.map_or(lines.len(), |length| at + length + 1);
            functions.push(Function { name, start, end });
            at = end;
        } else {
            at += 1;
        }
    }
    functions
}

/// The head that ends before the body: where it starts and what it names.
fn head(lines: &[&str], after: usize, body: usize) -> Option<(usize, String)> {
    let mut start = body;
    while start > after {
        let line = lines.get(start - 1)?;
        let ends = line.is_empty()
            || line.starts_with(['}', '#'])
            || line.ends_with([';', '\\'])
            || line.ends_with("*/");
        if ends {
            break;
        }
        start -= 1;
    }
    let text = lines.get(start..body)?.join(" ");
    Some((start, name(&text)?))
}

fn name(head: &str) -> Option<String> {
    let (before, arguments) = head.split_once('(')?;
    let name = words(before).last()?.to_owned();
    if name == "__attribute__" || name == "__section" {
        let (_, rest) = arguments.split_once(')')?;
        return self::name(rest.trim_start_matches(')'));
    }
    if name.starts_with("SYSCALL_DEFINE") {
        return Some(format!("__do_sys_{}", words(arguments).next()?));
    }
    if name.starts_with("COMPAT_SYSCALL_DEFINE") {
        return Some(format!("__do_compat_sys_{}", words(arguments).next()?));
    }
    if name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') {
        // Another macro that defines a function, named by its first argument.
        return words(arguments).next().map(str::to_owned);
    }
    Some(name)
}

/// The identifiers and numbers of a text.
pub fn words(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_by_their_braces() {
        let text = "struct a {\n\tint b;\n};\n\nstatic int f(int a,\n\t     int b)\n{\n\tif (a) {\n\t}\n}\n\
                    SYSCALL_DEFINE2(pidfd_open, pid_t, pid,\n\t\tint, flags)\n{\n}\nint x[] =\n{\n\t1\n};\n";
        let found = functions(text);
        let named: Vec<(&str, usize, usize)> =
            found.iter().map(|f| (f.name.as_str(), f.start, f.end)).collect();
        assert_eq!(named, [("f", 4, 10), ("__do_sys_pidfd_open", 10, 14)]);
    }

    #[test]
    fn comments_before_a_function_are_not_its_head() {
        let found = functions("/*\n * g(x)\n */\nvoid __init g(void)\n{\n}\n");
        assert_eq!(found, [Function { name: "g".into(), start: 3, end: 6 }]);
    }
}
