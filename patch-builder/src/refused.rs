//! What is refused of a change, in all objects, beside what of it could be patched.

use std::fmt;

use lucos_object_diff::{Comparison, FunctionChange, Reason, Refusal};
use serde::Serialize;

/// Most objects that a text names at once; JSON has all.
const NAMED: usize = 10;

/// Why there is no patch, and what was found besides.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Refused {
    /// The objects of which no patch can be made.
    #[serde(rename = "refused")]
    pub objects: Vec<Refusal>,
    /// The objects with functions that change, refused or not.
    pub changed: Vec<Changed>,
}

/// The functions of an object that change.
#[derive(Debug, Clone, Serialize)]
pub struct Changed {
    /// Path of the object.
    pub object: String,
    /// At least one.
    pub functions: Vec<FunctionChange>,
}

impl Refused {
    /// Adds what was found in an object.
    pub fn add(&mut self, object: &str, comparison: &Comparison) {
        let Comparison { functions, refusals, .. } = comparison;
        if !functions.is_empty() {
            let functions = functions.clone();
            self.changed.push(Changed { object: object.to_owned(), functions });
        }
        if !refusals.is_empty() {
            let reasons = refusals.clone();
            self.objects.push(Refusal { object: object.to_owned(), reasons });
        }
    }

    /// Each reason with the objects that have it: a header's change gives many the same.
    fn reasons(&self) -> Vec<(&Reason, Vec<&str>)> {
        let mut all: Vec<(&Reason, Vec<&str>)> = Vec::new();
        for refusal in &self.objects {
            for reason in &refusal.reasons {
                match all.iter_mut().find(|(known, _)| *known == reason) {
                    Some((_, objects)) => objects.push(&refusal.object),
                    None => all.push((reason, vec![&refusal.object])),
                }
            }
        }
        all
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { objects: vec![refusal], changed: Vec::new() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons = self.reasons();
        let start = if reasons.len() == 1 { "" } else { "\n  " };
        if reasons.len() > 1 {
            write!(f, "no patch can be made of this:")?;
        }
        for (reason, objects) in &reasons {
            write!(f, "{start}{}: {reason}", list(objects))?;
        }
        if self.changed.is_empty() {
            return Ok(());
        }
        let in_object = |changed: &Changed| {
            let names: Vec<&str> =
                changed.functions.iter().map(|function| function.name.as_str()).collect();
            format!("{} in {}", names.join(", "), changed.object)
        };
        let changed: Vec<String> = self.changed.iter().map(in_object).collect();
        write!(f, "\nfunctions that change:")?;
        for line in changed.iter().take(NAMED) {
            write!(f, "\n  {line}")?;
        }
        match changed.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "\n  and those in {more} more objects"),
        }
    }
}

fn list(objects: &[&str]) -> String {
    let named = objects.get(..NAMED).unwrap_or(objects).join(", ");
    match objects.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more objects"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lucos_object_diff::{Cause, LayoutChange};

    fn function(name: &str) -> FunctionChange {
        FunctionChange {
            name: name.into(),
            patched_name: name.into(),
            is_static: true,
            section: format!(".text.{name}"),
            size: 5,
            patched_size: 6,
            cause: Cause::Direct,
            first_difference: String::new(),
        }
    }

    fn layout() -> Reason {
        Reason::Layout(LayoutChange { name: "struct s".into(), fields: vec!["x is new".into()] })
    }

    #[test]
    fn each_object_is_named_with_all_of_its_reasons() {
        let mut refused = Refused::default();
        let init = Reason::InitFunction("start".into());
        let comparison = |functions: &[&str], refusals| Comparison {
            functions: functions.iter().map(|name| function(name)).collect(),
            refusals,
            ..Comparison::default()
        };
        refused.add("mm/a.o", &comparison(&["f", "g"], vec![layout(), init]));
        refused.add("mm/b.o", &comparison(&["h"], Vec::new()));
        refused.add("mm/c.o", &comparison(&[], vec![layout()]));
        let text = refused.to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert!(lines[1].starts_with("  mm/a.o, mm/c.o: struct s changes: x is new;"), "{text}");
        assert!(lines[2].starts_with("  mm/a.o: start runs during boot only"), "{text}");
        assert_eq!(lines[3..], ["functions that change:", "  f, g in mm/a.o", "  h in mm/b.o"]);
        let json = serde_json::to_value(&refused).unwrap();
        assert_eq!(json["refused"][0]["object"], "mm/a.o");
        assert_eq!(json["refused"][0]["reasons"][0]["layout"]["fields"][0], "x is new");
        assert_eq!(json["refused"][0]["reasons"][1]["init_function"], "start");
        assert_eq!(json["refused"][1]["object"], "mm/c.o");
        assert_eq!(json["changed"][1]["object"], "mm/b.o");
        assert_eq!(json["changed"][1]["functions"][0]["name"], "h");
    }

    #[test]
    fn one_reason_is_one_line() {
        let refusal = Refusal { object: "mm/a.o".into(), reasons: vec![layout()] };
        let text = Refused::from(refusal.clone()).to_string();
        assert_eq!(text, refusal.to_string());
        assert!(!text.contains('\n'), "{text}");
    }

    #[test]
    fn many_objects_with_one_reason_are_counted() {
        let mut refused = Refused::default();
        for number in 0..NAMED + 3 {
            let (functions, refusals) = (vec![function("f")], vec![layout()]);
            let comparison = Comparison { functions, refusals, ..Comparison::default() };
            refused.add(&format!("mm/{number}.o"), &comparison);
        }
        let text = refused.to_string();
        assert!(text.contains("mm/9.o and 3 more objects: struct s"), "{text}");
        assert!(text.ends_with("f in mm/9.o\n  and those in 3 more objects"), "{text}");
        assert_eq!(refused.objects.len(), NAMED + 3);
    }
}
