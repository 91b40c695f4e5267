//! Constants that the original object has too: texts, `__func__`, tables of the compiler.
//!
//! The kernel may keep the address of one for longer than a patch is there, so new code refers to
//! the kernel's own, where the code that runs tells the place of it.

use core::ops::Range;

use super::cutter::{Cutter, Destination};
use super::origin::Origins;
use crate::extraction::{Constant, ConstantId, Holder};
use crate::naming;
use crate::view::{Role, Target, View};

/// How deep constants may refer to constants.
const DEEPEST: u32 = 16;

/// Bytes of a section.
#[derive(Debug, Clone, Copy)]
struct Piece {
    section: usize,
    start: u64,
    end: u64,
}

/// The constant that a target leads into, without the distance from its beginning.
fn constant_at(view: &View<'_>, target: Target) -> Option<(Target, i64)> {
    match target {
        Target::Entity(index, distance) => {
            let entity = view.entity(index).filter(|entity| !entity.is_code)?;
            naming::is_content_only(entity.name).then_some((Target::Entity(index, 0), distance))
        }
        Target::Anonymous(section, offset) => {
            let is_constant = match view.roles.get(section)? {
                Role::Strings | Role::Constants => true,
                Role::Data => !view.section(section)?.has(object::elf::SHF_WRITE),
                _ => false,
            };
            (is_constant && offset >= 0).then_some((target, 0))
        }
        _ => None,
    }
}

/// The bytes of a constant.
fn piece(view: &View<'_>, target: Target) -> Option<Piece> {
    match target {
        Target::Entity(index, _) => {
            let entity = view.entity(index)?;
            Some(Piece { section: entity.section, start: entity.start, end: entity.end })
        }
        Target::Anonymous(section, offset) => {
            let start = u64::try_from(offset).ok()?;
            let home = view.section(section).filter(|home| start < home.size)?;
            let end = match view.roles.get(section)? {
                Role::Strings => home.text_end(start),
                Role::Constants => {
                    let past = start.checked_rem(home.entry_size)?;
                    start + (home.entry_size - past)
                }
                _ => view.anonymous_end(section, start),
            };
            Some(Piece { section, start, end: end.min(home.size) })
        }
        _ => None,
    }
}

fn id(view: &View<'_>, target: Target) -> Option<ConstantId> {
    match target {
        Target::Entity(index, _) => {
            let entity = view.entity(index)?;
            Some(ConstantId { section: entity.section, offset: entity.entry })
        }
        Target::Anonymous(section, offset) => {
            Some(ConstantId { section, offset: u64::try_from(offset).ok()? })
        }
        _ => None,
    }
}

/// What a linker fills in counts nothing when the bytes are looked for in what runs.
fn bytes_and_fields(view: &View<'_>, piece: Piece) -> Option<(Vec<u8>, Vec<Range<usize>>)> {
    let home = view.section(piece.section)?;
    let bytes = home.bytes(piece.start, piece.end).to_vec();
    let links = view.links(piece.section, piece.start, piece.end);
    let field = |link: &crate::view::Link| {
        let start = (link.offset - piece.start) as usize;
        start..start + link.width as usize
    };
    Some((bytes, links.iter().map(field).collect()))
}

impl Cutter<'_, '_> {
    /// The kernel's own constant, if it is known where that is. Otherwise notes what would tell.
    pub(super) fn kernels_constant(&mut self, target: Target) -> Option<Destination> {
        let patched = &self.subject.patched;
        let (constant, distance) = constant_at(patched, target)?;
        let id = id(patched, constant)?;
        if let Some(place) = self.links.constants.get(&id) {
            let symbol = self.writer.undefined(&place.symbol);
            return Some((symbol, place.distance.wrapping_add(distance)));
        }
        if !self.constants.contains_key(&id) && !self.leads_into_code(constant, 0) {
            let found = self.original_constant(id, constant);
            self.constants.extend(found.map(|found| (id, found)));
        }
        None
    }

    /// A table of places inside functions, such as that of a `switch`, belongs to the code.
    fn leads_into_code(&self, constant: Target, depth: u32) -> bool {
        let patched = &self.subject.patched;
        let Some(piece) = piece(patched, constant).filter(|_| depth < DEEPEST) else { return true };
        patched.links(piece.section, piece.start, piece.end).iter().any(|link| match link.target {
            Target::Entity(index, distance) => {
                let entity = patched.entity(index);
                let is_inside = entity.is_some_and(|entity| entity.is_code && distance != 0);
                is_inside
                    || (constant_at(patched, link.target).is_some()
                        && self.leads_into_code(Target::Entity(index, 0), depth + 1))
            }
            Target::Anonymous(..) => match constant_at(patched, link.target) {
                Some((inner, _)) => self.leads_into_code(inner, depth + 1),
                None => true,
            },
            Target::External(..) | Target::Absolute(_) => false,
        })
    }

    /// What the original object knows of a constant that means the same.
    fn original_constant(&self, id: ConstantId, constant: Target) -> Option<Constant> {
        let (original, matcher) = (&self.subject.original, self.subject.matcher());
        let mut found = Constant {
            id,
            bytes: Vec::new(),
            fields: Vec::new(),
            sites: Vec::new(),
            holders: Vec::new(),
        };
        for (old, uses) in self.origins.constants() {
            if !matcher.same_target(*old, constant, 0) {
                continue;
            }
            let Some((bytes, fields)) =
                piece(original, *old).and_then(|piece| bytes_and_fields(original, piece))
            else {
                continue;
            };
            // They are the same, but for padding behind them.
            if found.bytes.is_empty() || bytes.len() < found.bytes.len() {
                (found.bytes, found.fields) = (bytes, fields);
            }
            found.sites.extend(uses.sites.iter().cloned());
            found.holders.extend(uses.holders.iter().filter_map(|holder| {
                let holder_of = self.origins.own(original, holder.data, "")?;
                Some(Holder { data: holder_of, offset: holder.offset, addend: holder.addend })
            }));
        }
        let is_known = !found.sites.is_empty() || !found.holders.is_empty();
        (is_known && !found.bytes.is_empty()).then_some(found)
    }
}

/// Notes a use of a constant of the original object.
pub(super) fn of_original(view: &View<'_>, target: Target) -> Option<(Target, i64)> {
    constant_at(view, target)
}

impl Origins {
    /// The constants that something refers to.
    fn constants(&self) -> impl Iterator<Item = (&Target, &super::origin::ConstantUses)> {
        self.by_constant.iter()
    }
}
