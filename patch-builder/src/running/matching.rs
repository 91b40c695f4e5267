//! One object against the code that runs.

use std::collections::BTreeMap;

use iced_x86::{Instruction, Mnemonic};
use object::elf::{
    R_X86_64_8, R_X86_64_16, R_X86_64_32, R_X86_64_32S, R_X86_64_64, R_X86_64_PC8, R_X86_64_PC16,
    R_X86_64_PC32, R_X86_64_PC64, R_X86_64_PLT32,
};

use super::code::Running;
use super::error::Error;
use super::found::{Lead, Match};
use super::instructions::{branch_target, decode, text};
use super::object_code::{Code, Field, ObjectCode, Place, Target};
use super::settling;

/// Bytes of a near branch's field.
const BRANCH_FIELD: u64 = 4;

/// What was found of an object.
#[derive(Debug)]
pub struct Matched<'a> {
    object: &'a str,
    /// The functions, by name.
    pub functions: BTreeMap<String, Match>,
    /// Functions that are not in the code that runs: another object's won, or they are dropped.
    pub absent: Vec<String>,
}

impl<'a> Matched<'a> {
    /// Compares every function of an object.
    ///
    /// # Errors
    /// [`Error::Differs`] for the first that is there and differs.
    pub fn find(
        object: &'a str,
        object_code: &ObjectCode,
        running: &dyn Running,
    ) -> Result<Self, Error> {
        let mut matched = Self { object, functions: BTreeMap::new(), absent: Vec::new() };
        let mut several: Vec<(&str, Vec<Match>)> = Vec::new();
        for (name, code) in &object_code.functions {
            let addresses = running.symbols().addresses(name);
            let mut matches = Vec::new();
            let mut difference = None;
            for address in addresses {
                match compare(code, *address, object_code, running) {
                    Ok(found) => matches.push(found),
                    Err(found) => difference = Some(found),
                }
            }
            match (matches.len(), difference) {
                (1, _) => {
                    matched.functions.extend(matches.pop().map(|found| (name.clone(), found)));
                }
                (0, Some(difference)) if !code.is_weak && !code.is_boot_only() => {
                    return Err(difference.into_error(object, name));
                }
                (0, _) => matched.absent.push(name.clone()),
                _ => several.push((name, matches)),
            }
        }
        settling::settle(&mut matched.functions, several, object_code, running.symbols());
        matched.check_leads(object_code, running)?;
        Ok(matched)
    }

    /// Whether what refers to a function of the object leads to the one that was found.
    fn check_leads(&self, code: &ObjectCode, running: &dyn Running) -> Result<(), Error> {
        for (name, found) in &self.functions {
            if code.functions.get(name).is_none_or(Code::is_uncertain) {
                continue;
            }
            for lead in &found.leads {
                let callee = code.functions.get(&lead.function);
                let Some(known) = self.functions.get(&lead.function) else { continue };
                if callee.is_some_and(Code::is_uncertain) || known.address == lead.address {
                    continue;
                }
                return Err(Difference {
                    offset: lead.offset,
                    compiled: format!("a reference to {} at {:#x}", lead.function, known.address),
                    running: format!("one to {}", described(lead.address, running)),
                }
                .into_error(self.object, name));
            }
        }
        Ok(())
    }

    /// The function of a name.
    ///
    /// # Errors
    /// [`Error::Absent`] or [`Error::Ambiguous`].
    pub fn function(&self, name: &str, running: &dyn Running) -> Result<&Match, Error> {
        if let Some(found) = self.functions.get(name) {
            return Ok(found);
        }
        let (object, name) = (self.object.to_owned(), name.to_owned());
        let count = running.symbols().addresses(&name).len();
        if count == 0 || self.absent.contains(&name) {
            return Err(Error::Absent { object, function: name });
        }
        Err(Error::Ambiguous { object, name, count })
    }
}

/// An address, with the name that the kernel shows for it.
fn described(address: u64, running: &dyn Running) -> String {
    match running.symbols().names_at(address).next() {
        Some(name) => format!("{name} at {address:#x}"),
        None => format!("{address:#x}"),
    }
}

/// The first place where code differs.
struct Difference {
    offset: u64,
    compiled: String,
    running: String,
}

impl Difference {
    fn into_error(self, object: &str, function: &str) -> Error {
        Error::Differs {
            object: object.to_owned(),
            function: function.to_owned(),
            offset: self.offset,
            compiled: self.compiled,
            running: self.running,
        }
    }
}

fn compare(
    code: &Code,
    address: u64,
    object: &ObjectCode,
    running: &dyn Running,
) -> Result<Match, Difference> {
    let bytes = running.bytes_at(address).unwrap_or_default();
    let compiled = decode(&code.bytes, 0, usize::MAX);
    let there = decode(bytes, address, compiled.len());
    let index: BTreeMap<u64, usize> =
        compiled.iter().enumerate().map(|(index, one)| (one.ip(), index)).collect();
    let mut found = Match { address, values: BTreeMap::new(), leads: Vec::new() };
    let function = Function { code, address, bytes, there: &there, index: &index, object, running };
    for (number, one) in compiled.iter().enumerate() {
        let other = there.get(number);
        let same = other.and_then(|other| function.same(one, other, &mut found));
        if same.is_none() {
            return Err(Difference {
                offset: one.ip(),
                compiled: text(one),
                running: other.map_or_else(|| String::from("nothing"), text),
            });
        }
    }
    for one in &compiled {
        function.check_targets(one, &mut found)?;
    }
    let decoded = compiled.last().map_or(0, Instruction::next_ip);
    if decoded != code.bytes.len() as u64 {
        return Err(Difference {
            offset: decoded,
            compiled: String::from("no instruction"),
            running: String::from("something"),
        });
    }
    Ok(found)
}

/// A compiled function and its counterpart.
struct Function<'a> {
    code: &'a Code,
    address: u64,
    /// The running code from its start on.
    bytes: &'a [u8],
    there: &'a [Instruction],
    /// The compiled instructions' numbers, by offset.
    index: &'a BTreeMap<u64, usize>,
    object: &'a ObjectCode,
    running: &'a dyn Running,
}

impl Function<'_> {
    /// Whether two instructions are the same; notes what their fields refer to.
    fn same(&self, one: &Instruction, other: &Instruction, found: &mut Match) -> Option<()> {
        match branch_target(one) {
            Some(target) => self.same_branch(one, target, other, found),
            None => self.same_bytes(one, other, found),
        }
    }

    /// A linker or assembler may have chosen a shorter form of a branch.
    fn same_branch(
        &self,
        one: &Instruction,
        target: u64,
        other: &Instruction,
        found: &mut Match,
    ) -> Option<()> {
        let field = self.code.fields.range(one.ip()..one.next_ip()).next();
        let Some(there) = branch_target(other) else {
            // A static branch whose jump was taken out when the kernel was linked, or a tracer's
            // call.
            let is_tracer = field.is_some_and(|(_, field)| field.symbol == "__fentry__");
            let may_be_nop = is_tracer || self.code.rewritten.contains_key(&one.ip());
            return (may_be_nop && other.mnemonic() == Mnemonic::Nop && one.len() == other.len())
                .then_some(());
        };
        if one.mnemonic() != other.mnemonic() {
            return None;
        }
        match field {
            Some((offset, field)) => {
                let end = i64::try_from(BRANCH_FIELD).ok()?;
                let value = there.wrapping_sub(field.addend.wrapping_add(end).cast_unsigned());
                found.values.insert(*offset, (value, field.addend));
                Some(())
            }
            None => match self.code.neighbours.get(&one.ip()) {
                Some(place) => {
                    let (function, address) = (place.function.clone(), self.start(place, there)?);
                    found.leads.push(Lead { offset: one.ip(), function, address });
                    Some(())
                }
                None => {
                    let number = *self.index.get(&target)?;
                    (self.there.get(number)?.ip() == there).then_some(())
                }
            },
        }
    }

    /// Where the function of a place begins that has an address of the code that runs there: the
    /// same instruction of it, counted from its start.
    fn start(&self, place: &Place, address: u64) -> Option<u64> {
        let compiled = decode(&self.object.functions.get(&place.function)?.bytes, 0, usize::MAX);
        let number = compiled.iter().position(|one| one.ip() == place.offset)?;
        let starts = self.running.symbols().addresses(&place.function).iter().copied();
        starts.into_iter().find(|start| {
            let bytes = self.running.bytes_at(*start).unwrap_or_default();
            let there = decode(bytes, *start, number + 1);
            there.get(number).is_some_and(|one| one.ip() == address)
        })
    }

    /// Whether the fields of an instruction lead to what they name; notes the functions of the
    /// object among it.
    fn check_targets(&self, one: &Instruction, found: &mut Match) -> Result<(), Difference> {
        for (offset, field) in self.code.fields.range(one.ip()..one.next_ip()) {
            // No address fits into less.
            let Some((value, addend)) =
                found.value(*offset).filter(|_| width(field.kind).is_some_and(|width| width >= 4))
            else {
                continue;
            };
            let differs = |what: &str, place: u64| Difference {
                offset: one.ip(),
                compiled: format!("{} with {what}", text(one)),
                running: format!("one with {}", described(place, self.running)),
            };
            if field.is_global && !self.running.may_be_at(&field.symbol, value) {
                return Err(differs(&field.symbol, value));
            }
            match &field.target {
                Some(Target::Function { name, start }) => {
                    let address = value.wrapping_add_signed(*start);
                    found.leads.push(Lead { offset: *offset, function: name.clone(), address });
                }
                Some(Target::Constants { section, start }) => {
                    let behind = if is_relative(field.kind) { one.next_ip() - offset } else { 0 };
                    // A label is one entry's; a distance from it may lead to the entry's end.
                    let is_label = !field.symbol.is_empty();
                    let distance = addend.wrapping_add(behind.cast_signed());
                    let distance = if is_label { 0 } else { distance };
                    let place = value.wrapping_add_signed(distance);
                    let constants = self.object.constants.get(section);
                    let wanted = constants
                        .and_then(|all| all.rest_of_entry(start.wrapping_add_signed(distance)));
                    let there = self.running.bytes_at(place);
                    if wanted
                        .is_some_and(|text| !there.is_some_and(|there| there.starts_with(text)))
                    {
                        return Err(differs("another constant", place));
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    fn same_bytes(&self, one: &Instruction, other: &Instruction, found: &mut Match) -> Option<()> {
        if one.len() != other.len() {
            return None;
        }
        let mut compiled = slice(&self.code.bytes, one.ip(), one.len())?.to_vec();
        let start = other.ip().checked_sub(self.address)?;
        let there = slice(self.bytes, start, other.len())?;
        for (offset, field) in self.code.fields.range(one.ip()..one.next_ip()) {
            let at = usize::try_from(offset - one.ip()).ok()?;
            let width = width(field.kind)?;
            let filled = there.get(at..at + width)?;
            let place = other.ip() + at as u64;
            found.values.insert(*offset, (symbol_address(field, filled, place)?, field.addend));
            compiled.get_mut(at..at + width)?.copy_from_slice(filled);
        }
        (compiled == there).then_some(())
    }
}

fn slice(bytes: &[u8], start: u64, length: usize) -> Option<&[u8]> {
    let start = usize::try_from(start).ok()?;
    bytes.get(start..start.checked_add(length)?)
}

/// Bytes of a field.
fn width(kind: u32) -> Option<usize> {
    const FIELDS: [(u32, usize); 10] = [
        (R_X86_64_64.0, 8),
        (R_X86_64_PC64.0, 8),
        (R_X86_64_32.0, 4),
        (R_X86_64_32S.0, 4),
        (R_X86_64_PC32.0, 4),
        (R_X86_64_PLT32.0, 4),
        (R_X86_64_16.0, 2),
        (R_X86_64_PC16.0, 2),
        (R_X86_64_8.0, 1),
        (R_X86_64_PC8.0, 1),
    ];
    FIELDS.iter().find(|(known, _)| *known == kind).map(|(_, width)| *width)
}

/// The symbol's address, from the value that a linker put into a field at `place`.
fn symbol_address(field: &Field, filled: &[u8], place: u64) -> Option<u64> {
    let value = match filled {
        &[byte] => i64::from(byte.cast_signed()).cast_unsigned(),
        &[a, b] => i64::from(i16::from_le_bytes([a, b])).cast_unsigned(),
        &[a, b, c, d] if field.kind == R_X86_64_32.0 => u64::from(u32::from_le_bytes([a, b, c, d])),
        &[a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])).cast_unsigned(),
        other => u64::from_le_bytes(other.try_into().ok()?),
    };
    let base = if is_relative(field.kind) { place } else { 0 };
    Some(value.wrapping_add(base).wrapping_sub(field.addend.cast_unsigned()))
}

/// Whether a field has the distance from itself.
fn is_relative(kind: u32) -> bool {
    [R_X86_64_PC8.0, R_X86_64_PC16.0, R_X86_64_PC32.0, R_X86_64_PC64.0, R_X86_64_PLT32.0]
        .contains(&kind)
}
