//! The entries of the kernel's tables, by the function that they are about.

use std::collections::BTreeMap;

use super::{Entry, Role, Target, View};
use crate::refusal::Reason;
use crate::tables::{self, Table};

impl View<'_> {
    pub(super) fn find_entries(&mut self) -> Result<(), Reason> {
        let mut tables: Vec<(usize, Table)> = Vec::new();
        for (index, role) in self.roles.iter().enumerate() {
            let Role::Table(table) = role else { continue };
            tables.push((index, *table));
        }
        // Alternatives first: other tables have entries about their replacements.
        let rank =
            |index: usize| self.section(index).map(|found| found.name != tables::ALTERNATIVES);
        tables.sort_by_key(|(index, _)| rank(*index));
        let mut owners: BTreeMap<(usize, u64), (u64, usize)> = BTreeMap::new();
        for (index, table) in tables {
            for (start, end) in self.split(index, table)? {
                let links = self.links(index, start, end);
                let Some(place) = links.first().filter(|link| link.offset == start) else {
                    continue;
                };
                let (owner, at) = match place.target {
                    Target::Entity(entity, at) => (entity, at),
                    Target::Anonymous(section, offset) => {
                        let owner = u64::try_from(offset).ok().and_then(|offset| {
                            let before = owners.range(..=(section, offset)).next_back()?;
                            let ((home, _), (end, owner)) = before;
                            (*home == section && offset < *end).then_some(*owner)
                        });
                        let Some(owner) = owner else { continue };
                        (owner, i64::MAX)
                    }
                    _ => continue,
                };
                if self.section(index).is_some_and(|found| found.name == tables::ALTERNATIVES)
                    && let Some((section, from, to)) = self.replacement(index, start, end)
                {
                    owners.insert((section, from), (to, owner));
                }
                let entry = Entry { section: index, start, end, at };
                self.entries.entry(owner).or_default().push(entry);
            }
        }
        Ok(())
    }

    /// The code that the alternative of an entry puts in: section, start and end.
    pub(crate) fn replacement(
        &self,
        table: usize,
        start: u64,
        end: u64,
    ) -> Option<(usize, u64, u64)> {
        let link = self.links(table, start, end).get(1)?;
        let Target::Anonymous(section, offset) = link.target else { return None };
        let from = u64::try_from(offset).ok()?;
        // The last byte of struct alt_instr.
        let length = *self.section(table)?.bytes(end.checked_sub(1)?, end).first()?;
        Some((section, from, from.checked_add(u64::from(length))?))
    }

    /// The entries of a table.
    fn split(&self, index: usize, table: Table) -> Result<Vec<(u64, u64)>, Reason> {
        let Some(section) = self.section(index) else { return Ok(Vec::new()) };
        let Some(size) = table.entry_size else {
            let mut starts: Vec<u64> =
                section.relocations.iter().map(|found| found.offset).collect();
            starts.push(section.size);
            return Ok(starts
                .windows(2)
                .filter_map(|pair| Some((*pair.first()?, *pair.get(1)?)))
                .collect());
        };
        if size == 0 || section.size % size != 0 {
            let what = format!("{} has no whole number of entries of {size} bytes", section.name);
            return Err(Reason::Malformed(what));
        }
        Ok((0..section.size / size).map(|entry| (entry * size, (entry + 1) * size)).collect())
    }
}
