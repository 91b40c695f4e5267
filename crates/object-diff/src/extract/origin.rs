//! What the original object knows of symbols.

use std::collections::BTreeMap;

use object::elf;

use super::constant;
use crate::extraction::{Reference, Site};
use crate::view::{Entity, Link, Target, View};

/// For each symbol that the original object refers to: from where.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    by_entity: BTreeMap<usize, Uses>,
    by_name: BTreeMap<String, Uses>,
    pub(super) by_constant: BTreeMap<Target, ConstantUses>,
}

/// From where a constant is referred to.
#[derive(Debug, Default)]
pub(super) struct ConstantUses {
    pub(super) sites: Vec<Site>,
    pub(super) holders: Vec<DataField>,
}

/// A field of data with an address in it.
#[derive(Debug)]
pub(super) struct DataField {
    /// The data.
    pub(super) data: usize,
    /// Where in the data, from its symbol.
    pub(super) offset: u64,
    /// What is added to the constant's own address.
    pub(super) addend: i64,
}

#[derive(Debug, Default, Clone)]
struct Uses {
    address_taken: bool,
    sites: Vec<Site>,
}

fn site(user: &Entity<'_>, link: &Link, addend: i64) -> Site {
    Site {
        function: user.name.to_owned(),
        offset: link.offset.wrapping_sub(user.entry),
        relocation: link.kind.0,
        addend,
    }
}

impl Origins {
    pub(crate) fn new(original: &View<'_>) -> Self {
        let mut origins = Self::default();
        for (number, user) in original.entities.iter().enumerate() {
            for link in original.links_of(user) {
                if let Some((constant, distance)) = constant::of_original(original, link.target) {
                    let uses = origins.by_constant.entry(constant).or_default();
                    let addend = distance.wrapping_sub(link.bias);
                    let offset = link.offset.wrapping_sub(user.entry);
                    if user.is_code {
                        uses.sites.push(site(user, link, addend));
                    } else if link.kind == elf::R_X86_64_64 {
                        uses.holders.push(DataField { data: number, offset, addend });
                    }
                }
                let (uses, distance) = match link.target {
                    Target::Entity(entity, distance) => {
                        (origins.by_entity.entry(entity).or_default(), distance)
                    }
                    Target::External(symbol, distance) => {
                        let Some(symbol) = original.file.symbols.get(symbol) else { continue };
                        let name = symbol.name.to_owned();
                        (origins.by_name.entry(name).or_default(), distance)
                    }
                    _ => continue,
                };
                uses.address_taken |= !link.is_branch;
                if user.is_code && !link.is_implicit {
                    uses.sites.push(site(user, link, distance.wrapping_sub(link.bias)));
                }
            }
        }
        origins
    }

    /// A symbol of another object.
    pub(crate) fn external(&self, name: &str, symbol: &str) -> Reference {
        let uses = self.by_name.get(name).cloned().unwrap_or_default();
        Reference {
            symbol: symbol.to_owned(),
            name: name.to_owned(),
            in_object: false,
            is_static: false,
            nth_in_object: 0,
            size: 0,
            section: String::new(),
            address_taken: false,
            address_was_taken: uses.address_taken,
            sites: uses.sites,
        }
    }

    /// A function or data of the original object.
    pub(crate) fn own(&self, original: &View<'_>, index: usize, symbol: &str) -> Option<Reference> {
        let entity = original.entity(index)?;
        let uses = self.by_entity.get(&index).cloned().unwrap_or_default();
        let before = original.entities.iter().take(index);
        Some(Reference {
            symbol: symbol.to_owned(),
            name: entity.name.to_owned(),
            in_object: true,
            is_static: entity.is_local,
            nth_in_object: before.filter(|other| other.name == entity.name).count(),
            size: entity.end - entity.entry,
            section: original.section_name(entity).to_owned(),
            address_taken: false,
            address_was_taken: uses.address_taken,
            sites: uses.sites,
        })
    }
}
