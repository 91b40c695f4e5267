//! The source of each instruction.

use std::rc::Rc;

use gimli::{ColumnType, Reader as _};

use super::{Reader, Walk, address_of};

/// A place in the source, as the compiler counts: a `#line` directive counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: Rc<str>,
    /// From 1.
    pub(crate) line: u64,
    /// From 1, in bytes; 0: not known.
    pub(crate) column: u64,
}

/// From the object's addresses to places in the source.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// From an address on; none behind the end of a function.
    rows: Vec<(u64, Option<Place>)>,
}

impl Lines {
    /// Where the code at an offset of a section comes from.
    pub(crate) fn place(&self, section: usize, offset: u64) -> Option<&Place> {
        let address = address_of(section, offset);
        let behind = self.rows.partition_point(|(start, _)| *start <= address);
        self.rows.get(behind.checked_sub(1)?)?.1.as_ref()
    }

    pub(super) fn sort(&mut self) {
        // Of one address the last row counts, unless it is an end.
        self.rows.sort_by_key(|(start, place)| (*start, place.is_some()));
    }
}

impl Walk<'_> {
    pub(super) fn lines(&self, lines: &mut Lines) {
        let Some(program) = self.unit.line_program.clone() else { return };
        let mut rows = program.rows();
        let mut names = FileNames { walk: self, known: Vec::new() };
        while let Ok(Some((_, row))) = rows.next_row() {
            let place = row.line().filter(|_| !row.end_sequence()).and_then(|line| {
                let column = match row.column() {
                    ColumnType::LeftEdge => 0,
                    ColumnType::Column(column) => column.get(),
                };
                Some(Place { file: names.name(row.file_index())?, line: line.get(), column })
            });
            lines.rows.push((row.address(), place));
        }
    }
}

/// The paths of a unit's files, by number.
pub(super) struct FileNames<'w, 'd> {
    pub(super) walk: &'w Walk<'d>,
    pub(super) known: Vec<(u64, Option<Rc<str>>)>,
}

impl FileNames<'_, '_> {
    /// The path from the folder that the compiler ran in.
    pub(super) fn name(&mut self, index: u64) -> Option<Rc<str>> {
        if let Some((_, name)) = self.known.iter().find(|(known, _)| *known == index) {
            return name.clone();
        }
        let name = self.read(index).map(Rc::from);
        self.known.push((index, name.clone()));
        name
    }

    fn read(&self, index: u64) -> Option<String> {
        let Walk { unit, dwarf, .. } = *self.walk;
        let header = unit.line_program.as_ref()?.header();
        let file = header.file(index)?;
        let text = |value: gimli::AttributeValue<Reader>| {
            Some(dwarf.attr_string(unit, value).ok()?.to_string_lossy().ok()?.into_owned())
        };
        let name = text(file.path_name())?;
        // Folder 0 is the one that the compiler ran in.
        let folder = if file.directory_index() == 0 { None } else { file.directory(header) };
        let folder = folder.and_then(text).filter(|_| !name.starts_with('/'));
        let path = folder.map_or_else(|| name.clone(), |folder| format!("{folder}/{name}"));
        let parts: Vec<&str> = path.split('/').filter(|part| *part != ".").collect();
        Some(parts.join("/"))
    }
}
