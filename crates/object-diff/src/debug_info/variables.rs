//! Variables that are there all the time: those of the file, and the static ones of functions.

use std::collections::BTreeMap;

use gimli::{AttributeValue, EntriesTreeNode, Operation, UnitOffset};

use super::lines::{FileNames, Place};
use super::{DebugInfo, Die, Reader, Walk, place_in_object};

/// How deep blocks may be nested.
const DEEPEST: u32 = 256;

/// A variable as it is declared. One of an inlined function is there once, however often the
/// function is inlined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StaticVariable {
    pub(crate) name: String,
    /// The function that declares it; for one that was inlined that one, not its caller.
    pub(crate) function: Option<String>,
    /// Where it is declared: of one that a macro makes, where the macro is used.
    pub(crate) place: Option<Place>,
    /// Section and offset; `None` when the compiler left it out.
    pub(crate) home: Option<(usize, u64)>,
}

/// What has been found in a unit.
struct Found<'w, 'd> {
    variables: Vec<StaticVariable>,
    functions: Vec<(String, Place)>,
    /// By entry of the debug information.
    by_entry: BTreeMap<UnitOffset, usize>,
    /// Homes of variables whose declaration is another entry.
    of_origins: Vec<(UnitOffset, (usize, u64))>,
    names: FileNames<'w, 'd>,
}

impl Walk<'_> {
    pub(super) fn variables(&self, info: &mut DebugInfo) {
        let names = FileNames { walk: self, known: Vec::new() };
        let mut found = Found {
            variables: Vec::new(),
            functions: Vec::new(),
            by_entry: BTreeMap::new(),
            of_origins: Vec::new(),
            names,
        };
        let Ok(mut tree) = self.unit.entries_tree(None) else { return };
        let Ok(root) = tree.root() else { return };
        self.find_variables(root, None, &mut found, 0);
        for (origin, home) in found.of_origins {
            let index = found.by_entry.get(&origin).copied();
            let variable = index.and_then(|index| found.variables.get_mut(index));
            if let Some(variable) = variable.filter(|variable| variable.home.is_none()) {
                variable.home = Some(home);
            }
        }
        info.variables.extend(found.variables);
        info.functions.extend(found.functions);
    }

    fn find_variables(
        &self,
        node: EntriesTreeNode<'_, '_, '_, Reader>,
        function: Option<&str>,
        found: &mut Found<'_, '_>,
        depth: u32,
    ) {
        if depth > DEEPEST {
            return;
        }
        let mut children = node.children();
        while let Ok(Some(child)) = children.next() {
            let die = child.entry();
            match die.tag() {
                gimli::DW_TAG_subprogram => {
                    let origin = self.reference(die, gimli::DW_AT_abstract_origin);
                    let name = self.name(die).or_else(|| self.name_at(origin?));
                    let is_here = matches!(die.attr_value(gimli::DW_AT_declaration), Ok(None));
                    let place = self.declared_at(die, &mut found.names).filter(|_| is_here);
                    found.functions.extend(name.clone().zip(place));
                    self.find_variables(child, name.as_deref(), found, depth + 1);
                }
                gimli::DW_TAG_lexical_block | gimli::DW_TAG_inlined_subroutine => {
                    self.find_variables(child, function, found, depth + 1);
                }
                gimli::DW_TAG_variable => self.variable(die, function, found),
                _ => {}
            }
        }
    }

    fn variable(&self, die: &Die<'_, '_>, function: Option<&str>, found: &mut Found<'_, '_>) {
        let home = self.home(die);
        if let Some(origin) = self.reference(die, gimli::DW_AT_abstract_origin) {
            found.of_origins.extend(home.map(|home| (origin, home)));
            return;
        }
        let declared = self.reference(die, gimli::DW_AT_specification);
        let Some(name) = self.name(die).or_else(|| self.name_at(declared?)) else { return };
        let place = self.declared_at(die, &mut found.names);
        found.by_entry.insert(die.offset(), found.variables.len());
        let function = function.map(str::to_owned);
        found.variables.push(StaticVariable { name, function, place, home });
    }

    fn declared_at(&self, die: &Die<'_, '_>, names: &mut FileNames<'_, '_>) -> Option<Place> {
        let file = match die.attr_value(gimli::DW_AT_decl_file).ok()?? {
            AttributeValue::FileIndex(index) => index,
            value => value.udata_value()?,
        };
        let line = self.number(die, gimli::DW_AT_decl_line)?;
        let column = self.number(die, gimli::DW_AT_decl_column).unwrap_or(0);
        Some(Place { file: names.name(file)?, line, column })
    }

    /// Where a variable is that has one address all the time.
    fn home(&self, die: &Die<'_, '_>) -> Option<(usize, u64)> {
        let AttributeValue::Exprloc(expression) = die.attr_value(gimli::DW_AT_location).ok()??
        else {
            return None;
        };
        let mut operations = expression.operations(self.unit.encoding());
        let Ok(Some(Operation::Address { address })) = operations.next() else { return None };
        place_in_object(address)
    }
}
