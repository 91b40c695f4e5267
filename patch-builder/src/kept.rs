//! What the kernel may go on using of a patch after it is rolled back.
//!
//! Functions, texts and variables of a patch are in its module's memory. When new code stores the
//! address of one where it does not own the memory, returns it, or passes it to a function that may
//! keep it, nobody can tell when the kernel is done with it, so that memory must not be freed. What a
//! function keeps is found in its own code, in the kernel that runs, and in a list of those that are
//! too deep for that.

mod flow;
mod known;
mod list;
mod state;
#[cfg(test)]
mod tests;
mod things;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Decoder, DecoderOptions, OpKind};

use crate::running::{self, Running};
use crate::used::KERNEL_OBJECT;
use flow::{Callee, Found, Step, Surroundings, Way};
pub(crate) use list::declared;
pub use list::{Kept, NotKept};
use state::{Effect, Label, Labels, PARAMETERS};
pub use things::Kind;
use things::{Place, Reference, Thing, Things};

/// How deep calls of the kernel's own functions are followed.
const DEEPEST: usize = 5;
/// Most bytes of a function that is followed.
const LARGEST: u64 = 8 << 10;
/// Most rounds through the instructions of one function.
const MOST_ROUNDS: usize = 200_000;
/// What `lucos.select.OBJECT.N.NAME` begins with.
const SELECT: &str = "lucos.select.";

/// Modules of the kernel, by name.
pub(crate) type Modules<'a> = BTreeMap<String, &'a dyn Running>;

/// Finds what the kernel may keep of the cut-outs of a patch. `modules` are those of the kernel that
/// the patch changes, by name; `redirected` are the symbols of the functions that the kernel's own
/// are redirected to.
///
/// # Errors
/// What is wrong with a cut-out.
pub(crate) fn find(
    payloads: &[Vec<u8>],
    redirected: &BTreeSet<&str>,
    kernel: &dyn Running,
    modules: &Modules<'_>,
) -> Result<Vec<Kept>, String> {
    find_within(MOST_ROUNDS, payloads, redirected, kernel, modules)
}

fn find_within(
    rounds: usize,
    payloads: &[Vec<u8>],
    redirected: &BTreeSet<&str>,
    kernel: &dyn Running,
    modules: &Modules<'_>,
) -> Result<Vec<Kept>, String> {
    let things = Things::read(payloads)?;
    let numbers = things.all().map(|thing| thing.place).zip(0..).collect();
    let search = Search {
        things: &things,
        numbers,
        redirected: things.symbols(redirected),
        kernel,
        modules,
        rounds,
        effects: RefCell::default(),
        stored: RefCell::default(),
    };
    Ok(search.run())
}

/// A function whose code is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Function {
    /// Of the patch, by where it begins.
    New(Place),
    /// Of the kernel or of a module that the patch changes.
    Running(String, u64),
}

struct Search<'a> {
    things: &'a Things,
    numbers: BTreeMap<Place, usize>,
    redirected: BTreeSet<Place>,
    kernel: &'a dyn Running,
    modules: &'a Modules<'a>,
    /// Most rounds through the instructions of one function.
    rounds: usize,
    /// What functions do, as far as that is known. One that is being followed does all there is.
    effects: RefCell<BTreeMap<Function, Effect>>,
    /// What new code stores in data of the patch.
    stored: RefCell<BTreeSet<(usize, Label)>>,
}

impl Surroundings for Search<'_> {
    fn held_by(&self, own: usize) -> Labels {
        let thing = self.things.all().nth(own);
        let held = thing.into_iter().flat_map(|thing| self.things.held_by(thing));
        let mut labels: Labels = held.filter_map(|held| self.label(held.place)).collect();
        let stored = self.stored.borrow();
        labels.extend(stored.iter().filter(|(place, _)| *place == own).map(|(_, label)| *label));
        labels
    }
}

impl Search<'_> {
    fn run(&self) -> Vec<Kept> {
        let mut leaves: BTreeMap<usize, BTreeSet<(Way, String)>> = BTreeMap::new();
        loop {
            let before = self.stored.borrow().len();
            self.effects.borrow_mut().clear();
            for function in self.things.functions().filter(|one| !is_part(one)) {
                let Some(found) = self.follow(&Function::New(function.place), 0) else {
                    for number in self.used_by(function) {
                        let ways = leaves.entry(number).or_default();
                        ways.insert((Way::NotFollowed, function.name.clone()));
                    }
                    continue;
                };
                for (label, way) in found.leaves {
                    if let Label::Own(number) = label {
                        let ways = leaves.entry(number).or_default();
                        ways.insert((way, function.name.clone()));
                    }
                }
                if self.redirected.contains(&function.place) {
                    for label in found.effect.returns {
                        if let Label::Own(number) = label {
                            let ways = leaves.entry(number).or_default();
                            ways.insert((Way::Returned, function.name.clone()));
                        }
                    }
                }
            }
            if self.stored.borrow().len() == before {
                break;
            }
        }
        let all: Vec<&Thing> = self.things.all().collect();
        let kept = leaves.into_iter().filter_map(|(number, ways)| {
            let thing = all.get(number)?;
            let how = ways.into_iter().map(|(way, function)| described(&way, &function));
            let (what, kind) = (thing.name.clone(), thing.kind);
            Some(Kept { what, kind, how: how.collect(), harmless: false })
        });
        kept.collect()
    }

    /// What of the patch a function refers to or gets from another one, and what that leads to.
    fn used_by(&self, function: &Thing) -> BTreeSet<usize> {
        let mut open = Labels::new();
        for step in self.new_steps(function.place, 0).unwrap_or_default() {
            open.extend(step.constant);
            open.extend(step.memory);
            if let Some(Callee::Function(_, effect)) = step.callee {
                open.extend(effect.returns);
            }
        }
        let mut used = BTreeSet::new();
        while let Some(label) = open.pop_first() {
            if let Label::Own(number) = label
                && used.insert(number)
            {
                open.extend(self.held_by(number));
            }
        }
        used
    }

    fn label(&self, place: Place) -> Option<Label> {
        self.numbers.get(&place).copied().map(Label::Own)
    }

    /// The label of what a field refers to.
    fn labels(&self, reference: &Reference) -> Labels {
        let Reference::Own(place) = reference else { return Labels::new() };
        let thing = self.things.around(*place);
        thing.and_then(|thing| self.label(thing.place)).into_iter().collect()
    }

    fn effect(&self, function: &Function, depth: usize) -> Effect {
        if let Some(known) = self.effects.borrow().get(function) {
            return known.clone();
        }
        if depth > DEEPEST {
            return Effect::unknown();
        }
        self.effects.borrow_mut().insert(function.clone(), Effect::unknown());
        let found = self.follow(function, depth);
        let effect = found.map_or_else(Effect::unknown, |found| found.effect);
        self.effects.borrow_mut().insert(function.clone(), effect.clone());
        effect
    }

    /// Follows the addresses through a function; `None` when that cannot be done.
    fn follow(&self, function: &Function, depth: usize) -> Option<Found> {
        let (steps, prototype) = match function {
            Function::New(place) => (self.new_steps(*place, depth)?, None),
            Function::Running(object, address) => {
                let running = self.running(object)?;
                let mut names = running.symbols().names_at(*address);
                let prototype = names.find_map(|name| running.prototype(name));
                (self.running_steps(running, *address, depth)?, prototype)
            }
        };
        let parameters = prototype.map_or(PARAMETERS, |known| known.parameters.min(PARAMETERS));
        let mut found = flow::follow(&steps, parameters, self.rounds, self)?;
        if prototype.is_some_and(|known| !known.returns) {
            found.effect.returns.clear();
        }
        // What is passed on the stack is not followed.
        found.effect.keeps_rest |= prototype.is_some_and(|known| known.parameters > PARAMETERS);
        let stored = found.stored.iter().filter(|(_, label)| matches!(label, Label::Own(_)));
        self.stored.borrow_mut().extend(stored.copied());
        Some(found)
    }

    fn running(&self, object: &str) -> Option<&dyn Running> {
        match object {
            KERNEL_OBJECT => Some(self.kernel),
            module => self.modules.get(module).copied(),
        }
    }

    /// The instructions of a function of the patch, with the part that was split off it. Their
    /// addresses tell the sections apart.
    fn new_steps(&self, place: Place, depth: usize) -> Option<Vec<Step>> {
        let function = self.things.at(place)?;
        let parts = self.things.parts_of(function);
        let pieces: Vec<&Thing> = std::iter::once(function).chain(parts).collect();
        let is_inside = |target: Place| {
            pieces.iter().any(|piece| {
                (piece.place.payload, piece.place.section) == (target.payload, target.section)
                    && (piece.place.offset..piece.end).contains(&target.offset)
            })
        };
        let mut steps = Vec::new();
        for piece in &pieces {
            let section = self.things.section(piece.place)?;
            let code = things::range(&section.bytes, piece.place.offset, piece.end);
            let base = address_of(piece.place);
            for (mut instruction, offsets) in decoded(code, base) {
                let start = piece.place.offset + (instruction.ip() - base);
                let end = start + instruction.len() as u64;
                let mut step = Step {
                    instruction,
                    constant: Labels::new(),
                    memory: Labels::new(),
                    callee: None,
                };
                let is_branch = instruction.op0_kind() == OpKind::NearBranch64;
                let mut target = is_branch.then(|| {
                    let distance = instruction.near_branch_target().wrapping_sub(base);
                    let offset = piece.place.offset.wrapping_add(distance);
                    Reference::Own(Place { offset, ..piece.place })
                });
                for (at, field) in section.fields.range(start..end) {
                    let Some(found) = self.things.target(place.payload, field, end - at) else {
                        continue;
                    };
                    let is_memory = offsets.has_displacement()
                        && at - start == offsets.displacement_offset() as u64;
                    if is_branch {
                        target = Some(found);
                    } else if is_memory {
                        step.memory.extend(self.labels(&found));
                    } else {
                        step.constant.extend(self.labels(&found));
                    }
                }
                match target {
                    Some(Reference::Own(target)) if is_inside(target) => {
                        instruction.set_near_branch64(address_of(target));
                        step.instruction = instruction;
                    }
                    Some(target) => step.callee = Some(self.callee(&target, depth)),
                    None => {}
                }
                steps.push(step);
            }
        }
        Some(steps)
    }

    /// What a branch out of a function of the patch leads to.
    fn callee(&self, target: &Reference, depth: usize) -> Callee {
        match target {
            Reference::Own(place) => match self.things.function_around(*place) {
                Some(function) => {
                    let effect = self.effect(&Function::New(function.place), depth + 1);
                    Callee::Function(function.name.clone(), effect)
                }
                None => Callee::Function(String::from("code without a name"), Effect::unknown()),
            },
            Reference::Other(symbol) => self.callee_of_name(symbol, depth),
        }
    }

    /// A function of the kernel, by the symbol that a patch has for it.
    fn callee_of_name(&self, symbol: &str, depth: usize) -> Callee {
        let (object, nth, name) = selected(symbol).unwrap_or((KERNEL_OBJECT, 0, symbol));
        if let Some(special) = special(name) {
            return special;
        }
        let address = self.running(object).and_then(|running| {
            let addresses = running.symbols().addresses(name);
            match (nth, addresses) {
                (0, [only]) => Some(*only),
                (0, several) => {
                    let is_shared = |at: &&u64| running.symbols().is_global(name, **at);
                    several.iter().find(is_shared).copied()
                }
                (nth, several) => several.get(nth - 1).copied(),
            }
        });
        let effect = known::effect(name).unwrap_or_else(|| match address {
            Some(address) => self.effect(&Function::Running(object.to_owned(), address), depth + 1),
            None => Effect::unknown(),
        });
        Callee::Function(name.to_owned(), limited(self.running(object), name, effect))
    }

    /// The instructions of a function that runs.
    fn running_steps(
        &self,
        running: &dyn Running,
        address: u64,
        depth: usize,
    ) -> Option<Vec<Step>> {
        let name = running.symbols().names_at(address).next()?.to_owned();
        let mut pieces = vec![piece(running, address)?];
        let part = format!("{name}.cold");
        pieces.extend(
            running.symbols().addresses(&part).iter().filter_map(|part| piece(running, *part)),
        );
        let is_inside = |target: u64| {
            pieces.iter().any(|(start, code)| {
                target.checked_sub(*start).is_some_and(|offset| offset < code.len() as u64)
            })
        };
        let mut steps = Vec::new();
        for (start, code) in &pieces {
            for (instruction, _) in decoded(code, *start) {
                let target = running::branch_target(&instruction);
                let callee = target
                    .filter(|target| !is_inside(*target))
                    .map(|target| self.callee_at(running, target, depth));
                let (constant, memory) = (Labels::new(), Labels::new());
                steps.push(Step { instruction, constant, memory, callee });
            }
        }
        Some(steps)
    }

    /// A function that runs, by its address.
    fn callee_at(&self, running: &dyn Running, address: u64, depth: usize) -> Callee {
        let names: Vec<&str> = running.symbols().names_at(address).collect();
        if let Some(special) = names.iter().find_map(|name| special(name)) {
            return special;
        }
        let known = names.iter().find_map(|name| Some((*name, known::effect(name)?)));
        if let Some((name, effect)) = known {
            return Callee::Function(name.to_owned(), limited(Some(running), name, effect));
        }
        match names.first() {
            Some(name) => {
                let function = Function::Running(running.name().to_owned(), address);
                let effect = self.effect(&function, depth + 1);
                Callee::Function((*name).to_owned(), limited(Some(running), name, effect))
            }
            // What a module takes from elsewhere.
            None => match running.import_at(address) {
                Some(name) => self.callee_of_name(name, depth),
                None => Callee::Function(String::from("code without a name"), Effect::unknown()),
            },
        }
    }
}

/// A function keeps no more than it has parameters, as far as the object that it runs in says.
fn limited(running: Option<&dyn Running>, name: &str, mut effect: Effect) -> Effect {
    if let Some(prototype) = running.and_then(|running| running.prototype(name)) {
        let count = prototype.parameters.min(PARAMETERS);
        effect.keeps.iter_mut().skip(count).for_each(|keeps| *keeps = false);
        effect.behind.iter_mut().skip(count).for_each(|behind| *behind = false);
        effect.keeps_rest &= prototype.parameters > PARAMETERS;
    }
    effect
}

/// What is no function, whatever it looks like.
fn special(name: &str) -> Option<Callee> {
    if name == "__fentry__" {
        return Some(Callee::Nothing);
    }
    if name.ends_with("__x86_return_thunk") {
        return Some(Callee::Return);
    }
    let is_indirect = name.starts_with("__x86_indirect_") || name.starts_with("__SCT__");
    let unknown = || Callee::Function(String::from("a function by its address"), Effect::unknown());
    (is_indirect && known::effect(name).is_none()).then(unknown)
}

/// `lucos.select.OBJECT.N.NAME`.
fn selected(symbol: &str) -> Option<(&str, usize, &str)> {
    let mut parts = symbol.strip_prefix(SELECT)?.splitn(3, '.');
    Some((parts.next()?, parts.next()?.parse().ok()?, parts.next()?))
}

/// A part of a function that is only jumped to.
fn is_part(thing: &Thing) -> bool {
    thing.name.contains(".cold")
}

/// An address for code of a cut-out: no two sections have the same.
fn address_of(place: Place) -> u64 {
    let (payload, section) = (place.payload as u64 + 1, place.section as u64);
    (payload << 48 | section << 32).wrapping_add(place.offset)
}

/// The code of a function that runs, as far as the next one.
fn piece(running: &dyn Running, address: u64) -> Option<(u64, &[u8])> {
    let rest = running.bytes_at(address)?;
    let end = running.symbols().next_code(address);
    let length = end.map_or(rest.len() as u64, |end| end - address);
    (length <= LARGEST).then(|| (address, things::range(rest, 0, length)))
}

/// Instructions with the places of their fields; those that are none are left out.
fn decoded(
    code: &[u8],
    address: u64,
) -> impl Iterator<Item = (iced_x86::Instruction, iced_x86::ConstantOffsets)> {
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    std::iter::from_fn(move || {
        while decoder.can_decode() {
            let instruction = decoder.decode();
            if !instruction.is_invalid() {
                let offsets = decoder.get_constant_offsets(&instruction);
                return Some((instruction, offsets));
            }
        }
        None
    })
}

fn described(way: &Way, function: &str) -> String {
    match way {
        Way::Stored => format!("stored by {function}"),
        Way::Passed(callee) => format!("passed to {callee} by {function}"),
        Way::Returned => format!("returned by {function}"),
        Way::NotFollowed => format!("used by {function}, which is too long to be followed"),
    }
}
