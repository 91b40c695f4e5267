//! Which variable is which, where the number in its name changes.

mod pair;

use lucos_object_diff::{Decision, Reason, Rule, State};
use pair::Pair;

/// Runs both versions of a function that gives a variable's value and changes it: the new one goes on
/// where the old one was.
fn assert_values(pair: &Pair, calls: &str) {
    let comparison = pair.compare();
    assert_eq!(comparison.refusals, []);
    let main = format!(
        "int f(int), g(int), lucos_new_f(int), lucos_new_g(int);
         int say(int x) {{ return x; }}
         int main(void) {{ return {calls} ? 42 : 1; }}"
    );
    assert_eq!(pair.run(&main), 42, "{:?}\n{}", comparison.variables, pair.after);
}

fn variable(function: &str, name: &str, state: &'static str) -> (String, String, &'static str) {
    (function.to_owned(), name.to_owned(), state)
}

fn lines(text: &[&str]) -> String {
    text.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_helper_brings_a_variable_of_the_same_name() {
    let f = |check: &str| {
        lines(&[
            "int f(int x)",
            "{",
            "\tstatic unsigned int counter = 3;",
            check,
            "\treturn counter++ + x;",
            "}",
        ])
    };
    let helper = |inline: &str| {
        lines(&[
            &format!("static {inline} int helper(int x)"),
            "{",
            "\tstatic unsigned int counter = 50;",
            "\treturn counter++ + x;",
            "}",
        ])
    };
    for inline in ["inline", "__attribute__((noinline))"] {
        for is_behind in [false, true] {
            let (call, declared) = ("\tx += helper(1000);", "static int helper(int x);\n");
            let after = if is_behind {
                format!("{declared}{}{}", f(call), helper(inline))
            } else {
                format!("{}{}", helper(inline), f(call))
            };
            let pair = Pair::of(&f(""), &after);
            let expected = [variable("f", "counter", "kept"), variable("helper", "counter", "new")];
            assert_eq!(pair.variables(), expected, "{inline} {is_behind}");
            assert_values(
                &pair,
                "f(0) == 3 && lucos_new_f(0) == 1050 + 4 && lucos_new_f(0) == 1051 + 5 && f(0) == 6",
            );
        }
    }
}

#[test]
fn variables_come_in_front_and_behind_in_one_function() {
    let before = "int f(int x)
{
	if (x > 5) {
		static int count = 10;
		return count++;
	}
	return 0;
}
";
    let after = before
        .replace(
            "\tif (x > 5)",
            "\tif (x < 0) {\n\t\tstatic int count = 20;\n\t\treturn count--;\n\t}\n\tif (x > 5)",
        )
        .replace("\treturn 0;", "\t{\n\t\tstatic int count = 30;\n\t\treturn count += 2;\n\t}");
    let pair = Pair::of(before, &after);
    let (kept, new) = (variable("f", "count", "kept"), variable("f", "count", "new"));
    assert_eq!(pair.variables(), [kept, new.clone(), new]);
    assert_values(
        &pair,
        "f(9) == 10 && lucos_new_f(9) == 11 && lucos_new_f(-1) == 20 && lucos_new_f(-1) == 19
         && lucos_new_f(0) == 32 && f(9) == 12",
    );
}

const TWO_BLOCKS: [&str; 2] = [
    "\tif (x == 1) {\n\t\tstatic int count = 10;\n\t\tcount += 1;\n\t\treturn say(count);\n\t}\n",
    "\tif (x == 2) {\n\t\tstatic int count = 20;\n\t\tcount += 2;\n\t\treturn say(count);\n\t}\n",
];

#[test]
fn two_blocks_change_places() {
    let whole = |first: &str, second: &str| {
        format!("extern int say(int);\nint f(int x)\n{{\n{first}{second}\treturn x;\n}}\n")
    };
    let [one, two] = TWO_BLOCKS;
    let calls = "f(1) == 11 && f(2) == 22 && lucos_new_f(1) == 12 && lucos_new_f(2) == 24
        && f(1) == 13 && f(2) == 26";
    assert_values(
        &Pair::of(&whole(one, two), &whole(two, one).replace("return x", "return -x")),
        calls,
    );
    // Blocks that begin with equal lines, which a diff takes for lines that stay.
    let alike = |text: &str| {
        text.replace("static int count = 10", "static int count")
            .replace("static int count = 20", "static int count")
            .replace("if (x == 1)", "if (x & 1)")
            .replace("if (x == 2)", "if (x & 1)")
            .replace("return say(count)", "x += 4 * count")
    };
    let (one, two) = (alike(one), alike(two));
    let pair = Pair::of(&whole(&one, &two), &whole(&two, &one).replace("return x", "return -x"));
    assert_values(
        &pair,
        "f(1) == 1 + 4 + 8 && lucos_new_f(1) == -(1 + 8 + 16) && f(1) == 1 + 12 + 24",
    );
}

#[test]
fn a_block_moves_into_another_function() {
    let before = "extern int say(int);
int g(int x) { return say(x + 1); }
int f(int x)
{
	static int other = 100;
	other += x;
	if (x > 3) {
		static int count = 10;
		count += 3;
		other = say(count);
	}
	return other;
}
";
    let block = "	if (x > 3) {
		static int count = 10;
		count += 3;
		other = say(count);
	}
";
    let helper = format!("static int helper(int x, int other)\n{{\n{block}	return other;\n}}\n");
    for inline in ["inline ", "__attribute__((noinline)) "] {
        let after = before
            .replace(block, "	return helper(x, other);\n")
            .replace("int f(int x)", &format!("{inline}{helper}int f(int x)"));
        let pair = Pair::of(before, &after);
        assert_values(&pair, "f(4) == 13 && lucos_new_f(4) == 16 && f(4) == 19");
        let expected = [variable("f", "other", "kept"), variable("helper", "count", "kept")];
        assert_eq!(pair.variables(), expected);
    }
    // The whole function becomes a helper of a new one.
    let after = format!(
        "{}int f(int x)\n{{\n\treturn body(x) + 1000;\n}}\n",
        before.replace("int f(int x)", "static int body(int x)")
    );
    let pair = Pair::of(before, &after);
    assert_values(&pair, "f(4) == 13 && lucos_new_f(4) == 1016 && f(1) == 17");
}

#[test]
fn one_goes_and_another_one_comes() {
    let before = "extern int say(int);
int g(int x)
{
	static int count = 10;
	count += x;
	return say(count);
}
int f(int x)
{
	return say(x);
}
";
    let after = "extern int say(int);
int g(int x)
{
	return say(x) + 1;
}
int f(int x)
{
	static int count = 70;
	count *= 2;
	return say(count - x);
}
";
    let pair = Pair::of(before, after);
    assert_eq!(pair.variables(), [variable("f", "count", "new"), variable("g", "count", "gone")]);
    assert_values(
        &pair,
        "g(5) == 15 && lucos_new_f(0) == 140 && lucos_new_g(1) == 2 && g(1) == 16",
    );
}

const IN_TWO_PLACES: [&str; 2] = [
    "extern int say(int);
int f(int x)
{
	if (x > 5) {
		static int count;
		count += x;
		return say(count);
	}
	x = say(x) * say(x + 1);
	x = say(x) * say(x + 2);
	x = say(x) * say(x + 3);
	return x;
}
",
    "extern int say(int);
int f(int x)
{
	x = say(x) * say(x + 1);
	x = say(x) * say(x + 2);
	x = say(x) * say(x + 3);
	if (x > 7000) {
		static int count;
		count -= 4 * x;
		return count;
	}
	return x;
}
",
];

#[test]
fn what_cannot_be_told_is_asked() {
    let [before, after] = IN_TWO_PLACES;
    let mut pair = Pair::of(before, after);
    let [Reason::Ambiguous { name, variable: described, candidates }] =
        &pair.compare().refusals[..]
    else {
        panic!("{:?}", pair.compare().refusals)
    };
    assert!(described.starts_with(&format!("{name} (of f, test.c:")), "{described}");
    assert_eq!(candidates.len(), 1);
    let old = candidates[0].split(' ').next().unwrap().to_owned();
    let new = name.clone();

    pair.decisions = vec![Decision::Same { old, new: new.clone() }];
    assert_eq!(pair.variables(), [variable("f", "count", "kept")]);
    assert_eq!(pair.compare().decided, [0]);
    assert_eq!(pair.compare().variables[0].state, State::Kept(Rule::Author));
    pair.decisions = vec![Decision::New(new)];
    assert_eq!(pair.variables(), [variable("f", "count", "gone"), variable("f", "count", "new")]);
    assert_eq!((pair.compare().decided, pair.compare().refusals), (vec![0], vec![]));
    // Names that are not there decide nothing.
    pair.decisions =
        vec![Decision::New("none.7".into()), Decision::Same { old: "f".into(), new: "f".into() }];
    assert_eq!((pair.compare().decided, pair.compare().refusals.len()), (vec![], 1));
}

#[test]
fn the_author_parts_variables_of_one_name() {
    let before = "int count = 5; int f(int x) { return count++ + x; }";
    let mut pair = Pair::of(before, &before.replace("+ x", "- x"));
    assert_eq!(pair.variables(), [variable("", "count", "kept")]);
    pair.decisions = vec![Decision::New("count".into())];
    assert_eq!(pair.variables(), [variable("", "count", "gone"), variable("", "count", "new")]);
}

#[test]
fn every_kind_of_memory_is_kept() {
    for (kind, value) in [
        ("int count = 7", "count++"),
        ("int count", "(count++ + 7)"),
        ("int count[4] = { 0, 7 }", "count[1]++"),
        ("int __attribute__((section(\".data..read_mostly\"))) count = 7", "count++"),
        ("int __attribute__((section(\".data..percpu\"))) count = 7", "count++"),
        ("int __attribute__((section(\".data..ro_after_init\"))) count = 7", "count++"),
    ] {
        let function = |first: &str, name: &str, value: &str| {
            lines(&[
                first,
                &format!("int {name}(int x)"),
                "{",
                &format!("\tstatic {kind};"),
                &format!("\treturn {value} + x;"),
                "}",
            ])
        };
        let before = format!("{}{}", function("", "g", value), function("", "f", value));
        let after = format!(
            "{}{}{}",
            function("", "h", value),
            function("", "g", value),
            function("extern int h(int);", "f", &format!("100 * h(0) + {value}"))
        );
        let pair = Pair::of(&before, &after);
        let expected = [variable("f", "count", "kept"), variable("h", "count", "new")];
        assert_eq!(pair.variables(), expected, "{kind}");
        assert_values(
            &pair,
            "g(0) == 7 && f(0) == 7 && f(0) == 8 && lucos_new_f(0) == 709 && f(0) == 10 && g(0) == 8",
        );
    }
}

/// What macros of the kernel make: the state of what is done once.
const MACROS: &str = "extern int say(int);
#define WARN_ONCE(text) ({ \\
	static _Bool __attribute__((section(\".data.once\"))) __already_done; \\
	if (!__already_done) { __already_done = 1; x += text; } })
#define RATELIMITED(text) ({ \\
	static struct { int left, burst; } _rs = { 2, 2 }; \\
	if (_rs.left > 0) { _rs.left--; x += text; } })
#define DEBUG(text) ({ \\
	static struct { const char *message; int line; char on; } \\
	__attribute__((used, section(\"__dyndbg\"), aligned(8))) UNIQUE(__COUNTER__) = { #text, __LINE__, 1 }; \\
	if (UNIQUE_LAST.on) { UNIQUE_LAST.on = 0; x += text; } })
#define DO_ONCE(text) ({ \\
	static _Bool __attribute__((section(\".data.once\"))) ___done; \\
	static struct { long enabled; } ___once_key = { 1 }; \\
	if (___once_key.enabled && !___done) { ___done = 1; ___once_key.enabled = 0; x += text; } })
";

fn once(kind: &str, body: &[(&str, i32)]) -> String {
    let body: String =
        body.iter().map(|(what, text)| format!("\t{what}\n\t{kind}({text});\n")).collect();
    format!("{MACROS}int f(int x)\n{{\n{body}\treturn x;\n}}\n")
}

#[test]
fn what_is_done_is_done_and_what_is_new_is_not() {
    for (kind, times) in [("WARN_ONCE", 1), ("DO_ONCE", 1), ("RATELIMITED", 2)] {
        let before = once(kind, &[("say(1);", 1000), ("say(2);", 200)]);
        for (after, new) in [
            // In front, between and behind.
            (vec![("say(0);", 30), ("say(1);", 1000), ("say(2);", 200)], 30),
            (vec![("say(1);", 1000), ("say(0);", 30), ("say(2);", 200)], 30),
            (vec![("say(1);", 1000), ("say(2);", 200), ("say(0);", 30)], 30),
            // Exchanged.
            (vec![("say(2);", 200), ("say(1);", 1000)], 0),
            // One goes, another one comes.
            (
                vec![
                    ("say(1);", 1000),
                    ("say(3);", 7 + 70),
                    ("if (x > 9000)\n\t\treturn say(x);", 4),
                ],
                81,
            ),
        ] {
            let pair = Pair::of(&before, &once(kind, &after).replace("return x;", "return x + 1;"));
            assert_values(
                &pair,
                &format!(
                    "f(0) == 1200 && ({times} == 1 || f(0) == 1200) && f(0) == 0
                     && lucos_new_f(0) == 1 + {new} && ({times} == 1 || lucos_new_f(0) == 1 + {new})
                     && lucos_new_f(0) == 1 && f(0) == 0"
                ),
            );
        }
    }
}

#[test]
fn an_edited_message_keeps_its_state_and_the_other_one_too() {
    let before = once("WARN_ONCE", &[("say(1);", 1000), ("say(2);", 2000)]);
    let pair = Pair::of(&before, &before.replace("WARN_ONCE(1000)", "WARN_ONCE(1000 + x)"));
    assert_values(&pair, "f(0) == 3000 && lucos_new_f(0) == 0");
    let rules: Vec<State> = pair.compare().variables.iter().map(|one| one.state).collect();
    assert!(rules.contains(&State::Kept(Rule::Edit)), "{rules:?}");
    assert!(rules.contains(&State::Kept(Rule::Declaration)), "{rules:?}");
}

#[test]
fn debug_messages_stay_switched() {
    let source = |lines: &[&str]| {
        let text: String = lines.iter().map(|line| format!("\t{line}\n")).collect();
        let text = format!("{MACROS}int f(int x)\n{{\n{text}\treturn x;\n}}\n");
        // As __UNIQUE_ID does.
        let mut parts = text.split("DEBUG(");
        let mut result = parts.next().unwrap().to_owned();
        for (number, part) in parts.enumerate() {
            let name = format!("__UNIQUE_ID_ddebug{}", 270 + number);
            let (text, rest) = part.split_once(')').unwrap();
            result.push_str(&if text == "text" {
                format!("DEBUG(text){rest}")
            } else {
                format!(
                    "({{ static struct {{ const char *message; int line; char on; }} \
                     __attribute__((used, section(\"__dyndbg\"), aligned(8))) {name} = \
                     {{ \"{text}\", __LINE__, 1 }}; \
                     if ({name}.on) {{ {name}.on = 0; x += {text}; }} }}){rest}"
                )
            });
        }
        result
    };
    let before = source(&["DEBUG(1000);"]);
    let after = source(&["DEBUG(30);", "DEBUG(1000);"]);
    let pair = Pair::of(&before, &after);
    let name = "__UNIQUE_ID_ddebug";
    let states: Vec<_> = pair
        .variables()
        .into_iter()
        .map(|(_, name, state)| (name.starts_with("__UNIQUE_ID_ddebug"), state))
        .collect();
    assert_eq!(states, [(true, "new"), (true, "kept")], "{name}");
    assert_values(
        &pair,
        "f(0) == 1000 && lucos_new_f(0) == 30 && lucos_new_f(0) == 0 && f(0) == 0",
    );
    // Its text changes, or it goes: nothing is refused.
    let pair = Pair::of(&before, &source(&["DEBUG(1000 + x);"]));
    assert_values(&pair, "f(0) == 1000 && lucos_new_f(0) == 0");
    assert_eq!(Pair::of(&before, &source(&[])).compare().refusals, []);
}

#[test]
fn lines_with_one_number_are_told_apart() {
    let before = once("WARN_ONCE", &[("say(1);", 1000)]);
    // As the builder writes an edit: the added line has the number of the one behind it, and begins
    // in another column.
    let at = before.lines().position(|line| line == "\tWARN_ONCE(1000);").unwrap();
    let added = format!("{}WARN_ONCE(30);\n#line {}\n\tWARN_ONCE(1000);", " ".repeat(200), at + 1);
    let pair = Pair::of(&before, &before.replace("\tWARN_ONCE(1000);", &added));
    assert_values(&pair, "f(0) == 1000 && lucos_new_f(0) == 30 && lucos_new_f(0) == 0");
}

#[test]
fn a_variable_of_another_size_is_refused() {
    let before = "int f(int x)\n{\n\tstatic int warned;\n\treturn x + warned++;\n}\n";
    let comparison = Pair::of(before, &before.replace("int warned", "long warned")).compare();
    assert!(
        matches!(&comparison.refusals[..], [Reason::Data(change)] if change.name == "warned.0")
    );
}

/// Without debug information only code that is the same tells.
#[test]
fn equal_code_tells_without_debug_information() {
    let before = "int g(int x)
{
	static int count = 10;
	return count++;
}
int f(int x)
{
	static int count = 20;
	return x + count++;
}
";
    let flags: &[&str] = &["-g0"];
    let helper = "int h(int x)\n{\n\tstatic int count = 30;\n\treturn count *= 3;\n}\n";
    let pair = Pair::with_flags(before, &format!("{helper}{before}"), flags);
    assert_eq!((pair.changed(), pair.compare().refusals), (vec![], vec![]));
    let changed = before.replace("x + count", "x - count");
    let pair = Pair::with_flags(before, &format!("{helper}{changed}"), flags);
    let refusals = pair.compare().refusals;
    let is_asked = |reason: &Reason| matches!(reason, Reason::Ambiguous { .. });
    assert!(!refusals.is_empty() && refusals.iter().all(is_asked), "{refusals:?}");
}

#[test]
fn literals_with_an_address_are_constants() {
    let before = "extern int say(const int *);
static const int *const table[2] = { (const int[]){ 1, 2 }, (const int[]){ 3, 4 } };
int f(int x)
{
	return say(table[x & 1]);
}
";
    let after = before.replace("\treturn say(", "\treturn 7 + say(");
    let pair = Pair::of(before, &after);
    assert_eq!((pair.changed(), pair.compare().refusals), (vec!["f".into()], vec![]));
}

#[test]
fn a_new_statement_in_front_does_not_move_the_lines_of_another_function() {
    // A diff would rather move the end of the one function to the end of the other.
    let before = "int f(int x)
{
	static int counter;
	return counter++ + x;
}
";
    let after = "static __attribute__((noinline)) int helper(int x);
int f(int x)
{
	int other = helper(1000);
	static int counter;
	return counter++ + x + other;
}
static __attribute__((noinline)) int helper(int x)
{
	static int counter;
	return counter++ + x;
}
";
    let pair = Pair::of(before, after);
    assert_values(&pair, "f(0) == 0 && f(0) == 1 && lucos_new_f(0) == 1002 && f(0) == 3");
}
