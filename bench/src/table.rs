//! Figures for a person.

use std::fmt::Write;

use crate::cost::STOPS;
use crate::figures::Figures;
use crate::judge::target;
use crate::script::{FUNCTIONS, OPERATIONS, THREADS};

/// The figures as text.
pub fn table(figures: &Figures, cpus: u32) -> String {
    let mut text = String::new();
    let value = |name: &str| figures.get(name).copied().unwrap_or(f64::NAN);
    let mut line = |words: std::fmt::Arguments<'_>| {
        let _ = writeln!(text, "{words}");
    };
    line(format_args!("{:<12} {:>14} {:>10}", "operation", "bare", "LUCOS/bare"));
    for name in OPERATIONS {
        let (bare, ratio) = (value(&format!("bare.{name}")), value(&format!("ratio.{name}")));
        line(format_args!("{name:<12} {bare:>14} {ratio:>10.4}"));
    }
    line(format_args!("\n{:<12} {:>14} {:>10}", "exits/s", "idle", "load"));
    for (name, idle) in figures {
        if let Some(class) = name.strip_prefix("idle.") {
            let load = value(&format!("load.{class}"));
            if *idle != 0.0 || load != 0.0 {
                line(format_args!("{class:<12} {idle:>14} {load:>10.1}"));
            }
        }
    }
    line(format_args!(
        "\n{:<9} {:>9} {:>8} {:>6} {:>9} {:>13}",
        "stop", "functions", "threads", "exits", "messages", "instructions"
    ));
    for stop in STOPS {
        for functions in FUNCTIONS {
            for threads in THREADS {
                let of = |what: &str| value(&format!("{stop}.{functions}.{threads}.{what}"));
                let (exits, messages) = (of("exits"), of("messages"));
                let cost = of("instructions");
                line(format_args!(
                    "{stop:<9} {functions:>9} {threads:>8} {exits:>6} {messages:>9} {cost:>13}"
                ));
            }
        }
    }
    line(format_args!(""));
    for name in ["cpuid.exit", "call.before", "call.more", "memory.bytes", "image.bytes"] {
        let limit = target(name, cpus).map(|limit| format!("  (at most {limit})"));
        line(format_args!("{name:<14} {:>12}{}", value(name), limit.unwrap_or_default()));
    }
    text
}
