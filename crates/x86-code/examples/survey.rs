//! Lists the functions of the running kernel whose windows break a rule, one a line: the kind, its
//! name, whether it has an ftrace slot, and its address. Runs as root in the kernel's own machine,
//! since a kernel rewrites its text when it boots:
//!
//! ```text
//! cargo build -p lucos-x86-code --example survey --target x86_64-unknown-linux-gnu
//! ```

use std::collections::BTreeMap;
use std::fs::{File, read_to_string};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;

use lucos_x86_code::length::instruction_length;
use lucos_x86_code::window::{FUNCTION_MAX, Window, WindowError, analyse};
use object::LittleEndian as LE;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

const ENDBR: [[u8; 4]; 2] = [[0xf3, 0x0f, 0x1e, 0xfa], [0x66, 0x0f, 0x1f, 0x00]];
const SLOT: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];
const LOCK: u8 = 0xf0;

type Error = Box<dyn std::error::Error>;

/// The kernel's memory.
struct Memory {
    file: File,
    /// Address, length and place in the file.
    segments: Vec<(u64, u64, u64)>,
}

impl Memory {
    fn open() -> Result<Self, Error> {
        let file = File::open("/proc/kcore")?;
        let mut head = vec![0; 64 * 1024];
        let length = file.read_at(&mut head, 0)?;
        head.truncate(length);
        let header = FileHeader64::<LE>::parse(head.as_slice())?;
        let segments = header
            .program_headers(LE, head.as_slice())?
            .iter()
            .filter(|segment| segment.p_type(LE) == PT_LOAD)
            .map(|segment| (segment.p_vaddr(LE), segment.p_memsz(LE), segment.p_offset(LE)))
            .collect();
        Ok(Self { file, segments })
    }

    fn read(&self, address: u64, length: usize) -> Result<Vec<u8>, Error> {
        let is_in = |start: u64, size: u64| {
            address.checked_sub(start).is_some_and(|offset| offset + length as u64 <= size)
        };
        let segment = self.segments.iter().find(|(start, size, _)| is_in(*start, *size));
        let (start, _, place) = segment.ok_or("an address that is in no segment")?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, place + (address - start))?;
        Ok(bytes)
    }
}

/// The symbols of the kernel proper.
struct Symbols {
    by_name: BTreeMap<String, u64>,
    /// Text, by address.
    text: BTreeMap<u64, String>,
}

impl Symbols {
    fn read() -> Result<Self, Error> {
        let mut symbols = Self { by_name: BTreeMap::new(), text: BTreeMap::new() };
        for line in read_to_string("/proc/kallsyms")?.lines() {
            let mut words = line.split_whitespace();
            let (Some(address), Some(kind), Some(name)) =
                (words.next(), words.next(), words.next())
            else {
                continue;
            };
            if words.next().is_some() {
                continue;
            }
            let address = u64::from_str_radix(address, 16)?;
            symbols.by_name.insert(name.to_owned(), address);
            if kind.eq_ignore_ascii_case("t") {
                symbols.text.entry(address).or_insert_with(|| name.to_owned());
            }
        }
        Ok(symbols)
    }

    /// A table of the kernel, between the symbols that mark its start and end.
    fn table(&self, memory: &Memory, start: &str, stop: &str) -> Result<(u64, Vec<u8>), Error> {
        let find = |name: &str| self.by_name.get(name).ok_or(format!("no symbol {name}"));
        let (start, stop) = (*find(start)?, *find(stop)?);
        Ok((start, memory.read(start, usize::try_from(stop - start)?)?))
    }
}

/// Where the kernel's tables point, each sorted.
struct Places {
    labels: Vec<u64>,
    label_targets: Vec<u64>,
    static_calls: Vec<u64>,
    exceptions: Vec<u64>,
    fixups: Vec<u64>,
    bugs: Vec<u64>,
}

/// The places to which the 32-bit distances in a table lead, `at` bytes behind each entry's start.
fn places(table: &(u64, Vec<u8>), entry: usize, at: usize) -> Vec<u64> {
    let (start, bytes) = table;
    let mut places: Vec<u64> = bytes
        .chunks_exact(entry)
        .enumerate()
        .filter_map(|(index, record)| {
            let distance = record.get(at..)?.first_chunk()?;
            let field = start + (index * entry + at) as u64;
            // The lowest bits of static call sites are flags.
            Some(field.wrapping_add_signed(i64::from(i32::from_le_bytes(*distance))))
        })
        .collect();
    places.sort_unstable();
    places
}

impl Places {
    fn read(memory: &Memory, symbols: &Symbols) -> Result<Self, Error> {
        let table = |start: &str, stop: &str| symbols.table(memory, start, stop);
        let labels = table("__start___jump_table", "__stop___jump_table")?;
        let calls = table("__start_static_call_sites", "__stop_static_call_sites")?;
        let exceptions = table("__start___ex_table", "__stop___ex_table")?;
        let bugs = table("__start___bug_table", "__stop___bug_table")?;
        Ok(Self {
            labels: places(&labels, 16, 0),
            label_targets: places(&labels, 16, 4),
            static_calls: places(&calls, 8, 0),
            exceptions: places(&exceptions, 12, 0),
            fixups: places(&exceptions, 12, 4),
            bugs: places(&bugs, 12, 0),
        })
    }

    /// What the tables say against a jump at `site`, and against a trap there.
    fn kinds(&self, site: u64) -> Vec<&'static str> {
        let any = |places: &[u64], from: u64, to: u64| {
            let first = places.partition_point(|place| *place < from);
            places.get(first).is_some_and(|place| *place < to)
        };
        let mut kinds = Vec::new();
        // A label or call that starts before the site reaches into the window too.
        for (kind, places, from, to) in [
            ("jump_label_at_site", &self.labels, site - 1, site + 1),
            ("jump_label", &self.labels, site + 1, site + 5),
            ("label_target_at_site", &self.label_targets, site, site + 1),
            ("label_target", &self.label_targets, site + 1, site + 5),
            ("static_call_at_site", &self.static_calls, site - 4, site + 1),
            ("static_call", &self.static_calls, site + 1, site + 5),
            ("exception", &self.exceptions, site, site + 5),
            ("fixup_at_site", &self.fixups, site, site + 1),
            ("fixup", &self.fixups, site + 1, site + 5),
            ("bug", &self.bugs, site, site + 5),
        ] {
            if any(places, from, to) {
                kinds.push(kind);
            }
        }
        kinds
    }
}

/// Where the site is, and whether there is an ftrace slot before it.
fn site(code: &[u8]) -> (usize, bool) {
    let entry = if ENDBR.iter().any(|endbr| code.starts_with(endbr)) { 4 } else { 0 };
    let slot = code.get(entry..).is_some_and(|rest| rest.starts_with(&SLOT));
    (if slot { entry + SLOT.len() } else { entry }, slot)
}

/// What the code itself says.
fn code_kinds(code: &[u8], offset: usize, window: &Window) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    let mut at = offset;
    while at < offset + 5 {
        let rest = code.get(at..).unwrap_or_default();
        if rest.first() == Some(&LOCK) {
            kinds.push(if at == offset { "lock_at_site" } else { "lock" });
        }
        match instruction_length(rest, 64) {
            Ok(length) => at += usize::from(length),
            Err(_) => break,
        }
    }
    for (kind, found) in [
        ("branch_to_site", window.branch_to_site.is_some()),
        ("branch", window.branch_inside.is_some()),
        ("indirect_jump", window.unknown_jump.is_some()),
        ("short", window.displaced.is_none()),
    ] {
        if found {
            kinds.push(kind);
        }
    }
    kinds
}

const fn error_kind(error: WindowError) -> &'static str {
    match error {
        WindowError::Length => "too_long",
        WindowError::SiteOutside => "no_site",
        WindowError::SiteNotABoundary => "no_boundary",
        WindowError::Undecodable { .. } => "undecodable",
        WindowError::Breakpoint { .. } => "breakpoint",
    }
}

fn main() -> Result<(), Error> {
    let memory = Memory::open()?;
    let symbols = Symbols::read()?;
    let places = Places::read(&memory, &symbols)?;
    let end = *symbols.by_name.get("_etext").ok_or("no symbol _etext")?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut next = symbols.text.range(..end).peekable();
    while let Some((&start, name)) = next.next() {
        let stop = next.peek().map_or(end, |(address, _)| **address);
        let size = usize::try_from(stop - start)?;
        if name.starts_with("__pfx_") || size == 0 || size > FUNCTION_MAX {
            continue;
        }
        let code = memory.read(start, size)?;
        let (offset, slot) = site(&code);
        let mut kinds = places.kinds(start + offset as u64);
        match analyse(&code, start, offset) {
            Ok(window) => kinds.extend(code_kinds(&code, offset, &window)),
            Err(error) => kinds.push(error_kind(error)),
        }
        for kind in kinds {
            let slot = if slot { "slot" } else { "none" };
            writeln!(out, "{kind} {name} {slot} {start:#x}")?;
        }
    }
    Ok(out.flush()?)
}
