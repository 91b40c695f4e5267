//! The result for a person, as one section of a page that has one for each pair of versions.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::trial::Outcome;
use super::{Class, Survey, Verdict};

/// What the page says before the sections.
const PREFACE: &str = include_str!("preface.md");
/// Files that are named for a reason.
const EXAMPLES: usize = 3;

/// The page with the section of this survey; the other sections stay.
#[must_use]
pub fn into_page(page: &str, survey: &Survey) -> String {
    let own = heading(survey);
    let mut sections: Vec<String> = page
        .split("\n## ")
        .skip(1)
        .map(|section| format!("## {}\n", section.trim_end()))
        .filter(|section| section.lines().next() != Some(own.as_str()))
        .collect();
    sections.push(of(survey));
    sections.sort_by_key(|section| version_of(section));
    format!("{PREFACE}\n{}", sections.join("\n"))
}

fn heading(survey: &Survey) -> String {
    format!("## {} to {}", survey.from, survey.to)
}

/// The numbers in a section's heading: 6.12 comes after 6.1.
fn version_of(section: &str) -> Vec<u32> {
    let heading = section.lines().next().unwrap_or_default();
    heading.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// The section of a survey.
#[must_use]
pub fn of(survey: &Survey) -> String {
    let mut text = heading(survey);
    let whole = if survey.verdicts.len() == survey.candidates { "all" } else { "a sample" };
    let _ = write!(
        text,
        "\n\nPatched kernel: {}. {} C files that it compiles differ; N = {} of them ({whole}), seed {}.\n\n\
         | | code only | others |\n|---|---:|---:|\n",
        survey.kernel,
        survey.candidates,
        survey.verdicts.len(),
        survey.seed
    );
    for (class, name) in [
        (Class::Built, "built"),
        (Class::NoEffect, "no effect on this kernel"),
        (Class::Data, "needs data work"),
        (Class::Refused, "refused"),
    ] {
        let [code, others] = [true, false].map(|code| count(survey, class, code));
        let _ = writeln!(text, "| {name} | {code} | {others} |");
    }
    let _ = write!(text, "\n{}\n", share(survey));
    reasons(&mut text, survey);
    variables(&mut text, survey);
    if !survey.tried.is_empty() {
        let _ = write!(text, "\n{}", tried(survey));
    }
    text
}

fn count(survey: &Survey, class: Class, is_code_only: bool) -> usize {
    let is_one =
        |verdict: &&Verdict| verdict.class == class && verdict.is_code_only == is_code_only;
    survey.verdicts.iter().filter(is_one).count()
}

fn share(survey: &Survey) -> String {
    let built = count(survey, Class::Built, true);
    let not = count(survey, Class::Refused, true) + count(survey, Class::Data, true);
    let target = if survey.from.starts_with("6.1.") { 90 } else { 85 };
    match percent(built, built + not) {
        Some(percent) => format!(
            "**{percent} %** of the files whose code alone changes, and has an effect, became a patch: {built} \
             of {} (target: {target} %).",
            built + not
        ),
        None => String::from("No file changes code alone."),
    }
}

/// In tenths, rounded down.
fn percent(part: usize, whole: usize) -> Option<String> {
    let tenths = (part * 1000).checked_div(whole)?;
    Some(format!("{}.{}", tenths / 10, tenths % 10))
}

fn reasons(text: &mut String, survey: &Survey) {
    let mut groups: BTreeMap<(bool, &str), Vec<&str>> = BTreeMap::new();
    for verdict in &survey.verdicts {
        if let Some(group) = &verdict.group {
            let key = (!verdict.is_code_only, group.as_str());
            groups.entry(key).or_default().push(&verdict.file);
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|((others, _), files)| (*others, std::cmp::Reverse(files.len())));
    if groups.is_empty() {
        return;
    }
    text.push_str("\n| reason | files | | for example |\n|---|---:|---|---|\n");
    for ((others, group), files) in groups {
        let kind = if others { "" } else { "code only" };
        let examples: Vec<String> =
            files.iter().take(EXAMPLES).map(|file| format!("`{file}`")).collect();
        let group = group.replace('|', "/");
        let _ = writeln!(text, "| {group} | {} | {kind} | {} |", files.len(), examples.join(", "));
    }
}

/// What became of the variables of all files, and by which rule.
fn variables(text: &mut String, survey: &Survey) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (fate, count) in survey.verdicts.iter().flat_map(|verdict| &verdict.variables) {
        *counts.entry(fate).or_default() += count;
    }
    if counts.is_empty() {
        return;
    }
    text.push_str("\n| variables that changed code uses, or that come or go | |\n|---|---:|\n");
    for (fate, count) in counts {
        let _ = writeln!(text, "| {fate} | {count} |");
    }
}

fn tried(survey: &Survey) -> String {
    let mut text = String::new();
    let (mut good, mut absent, mut failed) = (0, Vec::new(), Vec::new());
    for tried in &survey.tried {
        match &tried.outcome {
            Outcome::Good => good += 1,
            Outcome::NotLoadable(why) => absent.push((&tried.file, why)),
            Outcome::Failed(why) => failed.push((&tried.file, why)),
        }
    }
    let _ = writeln!(
        text,
        "Of a sample of {} that were built and that this machine can load, in a guest: {good} applied and \
         rolled back, {} failed. {} more were drawn whose modules cannot be loaded here.",
        good + failed.len(),
        failed.len(),
        absent.len()
    );
    for (what, list) in [("not loadable", absent), ("failed", failed)] {
        for (file, why) in list {
            let why: String = why.chars().take(160).collect();
            let _ = writeln!(text, "- {what}: `{file}`: {why}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::trial::Tried;

    fn survey(from: &str, verdicts: Vec<Verdict>) -> Survey {
        Survey {
            kernel: "k".into(),
            from: from.into(),
            to: "9".into(),
            seed: 1,
            candidates: 7,
            verdicts,
            tried: Vec::new(),
            modules: std::path::PathBuf::new(),
            seconds: 0,
        }
    }

    #[test]
    fn the_share_is_that_of_code_with_an_effect() {
        let of = |class, code| Verdict::new("a.c", class, code);
        let verdicts = vec![
            of(Class::Built, true),
            of(Class::Built, true),
            of(Class::NoEffect, true),
            of(Class::Data, false),
            of(Class::Refused, false),
            of(Class::Refused, true),
        ];
        let text = share(&survey("6.1.1-1", verdicts));
        assert!(text.starts_with("**66.6 %**"), "{text}");
        assert!(text.ends_with("2 of 3 (target: 90 %)."), "{text}");
    }

    #[test]
    fn a_new_section_takes_the_place_of_the_old_one() {
        let new = survey("6.12.1-1", Vec::new());
        let first = into_page("", &new);
        let both = into_page(&first, &survey("6.1.9-1", Vec::new()));
        assert_eq!(both.matches("\n## ").count(), 2, "{both}");
        assert!(both.find("## 6.1.9").unwrap() < both.find("## 6.12.1").unwrap());
        let again = into_page(&both, &new);
        assert_eq!(again, both);
    }

    #[test]
    fn variables_are_counted_by_rule() {
        let mut one = Verdict::new("a.c", Class::Built, true);
        one.variables = [("new".to_owned(), 2), ("kept by its uses".to_owned(), 1)].into();
        let text = of(&survey("6.1.1-1", vec![one.clone(), one]));
        assert!(text.contains("|---|---:|\n| kept by its uses | 2 |\n| new | 4 |\n"), "{text}");
        assert!(!of(&survey("6.1.1-1", Vec::new())).contains("variables"));
    }

    #[test]
    fn what_was_tried_is_counted() {
        let mut survey = survey("6.1.1-1", Vec::new());
        let outcomes =
            [Outcome::Good, Outcome::NotLoadable("x".into()), Outcome::Failed("y".into())];
        survey.tried =
            outcomes.map(|outcome| Tried { file: "a.c".into(), outcome }).into_iter().collect();
        let text = tried(&survey);
        assert!(
            text.starts_with("Of a sample of 2 that were built and that this machine can load,"),
            "{text}"
        );
        assert!(text.contains("1 applied and rolled back, 1 failed. 1 more were drawn"), "{text}");
        assert!(text.contains("- failed: `a.c`: y"), "{text}");
    }
}
