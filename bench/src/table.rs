//! Figures for a person.

use crate::cost::STOPS;
use crate::data::{MOVES, OBJECTS, WRITES};
use crate::figures::Figures;
use crate::judge::target;
use crate::script::{FUNCTIONS, OPERATIONS, THREADS};

/// The figures as text: a table for each kind that was counted.
pub fn table(figures: &Figures, cpus: u32) -> String {
    let tables = [
        operations(figures),
        exits(figures),
        exits_of_operations(figures),
        stops(figures),
        moves(figures),
        writes(figures),
        rest(figures, cpus),
    ];
    let tables: Vec<String> = tables.into_iter().flatten().collect();
    tables.join("\n")
}

/// A table with a title, unless it is empty.
fn titled(title: String, lines: &[String]) -> Option<String> {
    (!lines.is_empty()).then(|| format!("{title}\n{}\n", lines.join("\n")))
}

fn operations(figures: &Figures) -> Option<String> {
    let line = |name: &&str| {
        let bare = figures.get(&format!("bare.{name}"))?;
        let ratio = figures.get(&format!("ratio.{name}"))?;
        Some(format!("{name:<12} {bare:>14} {ratio:>10.4}"))
    };
    let lines: Vec<_> = OPERATIONS.iter().filter_map(line).collect();
    titled(format!("{:<12} {:>14} {:>10}", "operation", "bare", "LUCOS/bare"), &lines)
}

/// The classes of which there were any.
fn exits(figures: &Figures) -> Option<String> {
    let line = |(name, idle): (&String, &f64)| {
        let class = name.strip_prefix("idle.")?;
        let load = figures.get(&format!("load.{class}"))?;
        let some = *idle != 0.0 || *load != 0.0;
        some.then(|| format!("{class:<12} {idle:>14} {load:>10.1}"))
    };
    let lines: Vec<_> = figures.iter().filter_map(line).collect();
    titled(format!("{:<12} {:>14} {:>10}", "exits/s", "idle", "load"), &lines)
}

/// The classes of which an operation has any.
fn exits_of_operations(figures: &Figures) -> Option<String> {
    let line = |(name, count): (&String, &f64)| {
        let (operation, class) = name.strip_prefix("exits.")?.split_once('.')?;
        (*count != 0.0).then(|| format!("{operation:<12} {class:<14} {count:>10.2}"))
    };
    let lines: Vec<_> = figures.iter().filter_map(line).collect();
    titled(format!("{:<12} {:<14} {:>10}", "operation", "exits", "each"), &lines)
}

fn stops(figures: &Figures) -> Option<String> {
    let line = |stop: &str, functions: u32, threads: u32| {
        let of = |what: &str| figures.get(&format!("{stop}.{functions}.{threads}.{what}"));
        let (exits, messages, cost) = (of("exits")?, of("messages")?, of("instructions")?);
        Some(format!("{stop:<9} {functions:>9} {threads:>8} {exits:>6} {messages:>9} {cost:>13}"))
    };
    let mut lines = Vec::new();
    for stop in STOPS {
        for functions in FUNCTIONS {
            lines.extend(THREADS.into_iter().filter_map(|threads| line(stop, functions, threads)));
        }
    }
    let title = format!(
        "{:<9} {:>9} {:>8} {:>6} {:>9} {:>13}",
        "stop", "functions", "threads", "exits", "messages", "instructions"
    );
    titled(title, &lines)
}

fn moves(figures: &Figures) -> Option<String> {
    let line = |stop: &str, objects: &str| {
        let cost = figures.get(&format!("data.{stop}.{objects}.instructions"))?;
        Some(format!("{stop:<9} {objects:>9} {cost:>13}"))
    };
    let objects = OBJECTS.map(|objects| objects.to_string());
    let objects: Vec<&str> = objects.iter().map(String::as_str).chain(["guarded"]).collect();
    let lines: Vec<_> = MOVES
        .iter()
        .flat_map(|stop| objects.iter().filter_map(|objects| line(stop, objects)))
        .collect();
    titled(format!("{:<9} {:>9} {:>13}", "data", "objects", "instructions"), &lines)
}

fn writes(figures: &Figures) -> Option<String> {
    let line = |kind: &&str| {
        let guarded = figures.get(&format!("write.{kind}.guarded"))?;
        let more = figures.get(&format!("write.{kind}.more"))?;
        Some(format!("{kind:<9} {guarded:>9} {more:>13}"))
    };
    let lines: Vec<_> = WRITES.iter().filter_map(line).collect();
    titled(format!("{:<9} {:>9} {:>13}", "write", "guarded", "more, drained"), &lines)
}

fn rest(figures: &Figures, cpus: u32) -> Option<String> {
    let line = |name: &&str| {
        let limit = target(name, cpus).map(|limit| format!("  (at most {limit})"));
        Some(format!("{name:<14} {:>12}{}", figures.get(*name)?, limit.unwrap_or_default()))
    };
    let names = ["cpuid.more", "call.before", "call.more", "memory.bytes", "image.bytes"];
    let lines: Vec<_> = names.iter().filter_map(line).collect();
    (!lines.is_empty()).then(|| format!("{}\n", lines.join("\n")))
}
