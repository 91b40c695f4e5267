//! From what the guests printed to figures.

use std::collections::BTreeMap;

use crate::cost::{self, Cost, STOPS};
use crate::output::{Missing, Output};
use crate::script::{FUNCTIONS, IDLE_SECONDS, OPERATIONS, THREADS, TIMES};

/// Ticks of a second of QEMU's machine; exits under load are counted for so many under Bochs too.
const TICKS_PER_SECOND: f64 = 1e9;

/// Figures by name; smaller is better. Costs are in instructions unless the name says otherwise.
pub type Figures = BTreeMap<String, f64>;

/// Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// What is loaded of the boot stub, the kernel and the tasks.
    pub image: u64,
}

/// What work costs: the figures of one processor, from a guest without and one with LUCOS.
///
/// # Errors
/// When a script did not print what it should.
pub fn work(bare: &Output, lucos: &Output, sizes: Sizes) -> Result<Figures, Missing> {
    let mut figures = Figures::new();
    for operation in OPERATIONS {
        let (without, with) = (bare.number(operation)?, lucos.number(operation)?);
        figures.insert(format!("bare.{operation}"), without);
        figures.insert(format!("ratio.{operation}"), with / without);
    }
    figures.insert("cpuid.more".into(), lucos.number("cpuid")? - bare.number("cpuid")?);
    let (before, after) = (lucos.number("call.before")?, lucos.number("call.after")?);
    figures.insert("call.before".into(), before);
    figures.insert("call.more".into(), after - before);
    figures.insert("memory.bytes".into(), lucos.status("warm", "region_size")?);
    figures.insert("image.bytes".into(), sizes.image as f64);
    add_exits(&mut figures, lucos)?;
    Ok(figures)
}

/// Which exits there are, idle, under load and in each operation.
///
/// # Errors
/// When the script did not print what it should.
pub fn exits(lucos: &Output) -> Result<Figures, Missing> {
    let mut figures = Figures::new();
    add_exits(&mut figures, lucos)?;
    let more = f64::from(TIMES[1] - TIMES[0]);
    for operation in OPERATIONS.into_iter().filter(|operation| *operation != "boot") {
        let at = |number: u32| format!("{operation}.{number}");
        let few = difference(lucos, &at(0), &at(1))?;
        for (class, many) in difference(lucos, &at(1), &at(2))? {
            let count = (many - few.get(&class).copied().unwrap_or(0.0)) / more;
            figures.insert(format!("exits.{operation}.{class}"), count);
        }
    }
    Ok(figures)
}

/// What the stops of patches cost.
///
/// # Errors
/// When the script did not print what it should.
pub fn stops(lucos: &Output) -> Result<Figures, Missing> {
    let mut figures = Figures::new();
    for threads in THREADS {
        for functions in FUNCTIONS {
            add_stops(&mut figures, lucos, functions, threads)?;
        }
    }
    for functions in FUNCTIONS {
        for stop in STOPS {
            let of = |threads: u32| {
                figures.get(&stop_name(stop, functions, threads, "instructions")).copied()
            };
            let [few, many] = THREADS.map(of);
            if let (Some(few), Some(many)) = (few, many) {
                figures.insert(format!("{stop}.{functions}.growth"), many / few);
            }
        }
    }
    Ok(figures)
}

fn stop_name(stop: &str, functions: u32, threads: u32, what: &str) -> String {
    format!("{stop}.{functions}.{threads}.{what}")
}

/// Exits by class and second, without those that asking costs.
fn add_exits(figures: &mut Figures, lucos: &Output) -> Result<(), Missing> {
    let seconds = lucos.number("load_ticks")? / TICKS_PER_SECOND;
    let asking = difference(lucos, "ask.0", "ask.1")?;
    for (what, seconds) in [("idle", f64::from(IDLE_SECONDS)), ("load", seconds)] {
        let exits = difference(lucos, &format!("{what}.0"), &format!("{what}.1"))?;
        for (class, count) in exits {
            let cost = asking.get(&class).copied().unwrap_or(0.0);
            figures.insert(format!("{what}.{class}"), (count - cost) / seconds);
        }
    }
    Ok(())
}

fn difference(
    output: &Output,
    before: &str,
    after: &str,
) -> Result<BTreeMap<String, f64>, Missing> {
    let before = output.exits(before)?;
    let after = output.exits(after)?;
    let count = |class: &String| before.get(class).copied().unwrap_or(0.0);
    Ok(after.iter().map(|(class, now)| (class.clone(), now - count(class))).collect())
}

/// What the three stops of a patch cost.
fn add_stops(
    figures: &mut Figures,
    lucos: &Output,
    functions: u32,
    threads: u32,
) -> Result<(), Missing> {
    let asking = Cost::of_asking(lucos, "")?;
    let stops = cost::stops(lucos, &format!("{functions}.{threads}"), asking)?;
    for (name, stop) in STOPS.into_iter().zip(stops) {
        for (what, value) in [
            ("stops", stop.cost.stops),
            ("exits", stop.cost.exits),
            ("messages", stop.cost.messages),
            ("instructions", stop.ticks),
        ] {
            figures.insert(stop_name(name, functions, threads, what), value);
        }
    }
    Ok(())
}
