//! Types as far as callers have to agree on them.

use gimli::UnitOffset;

use super::signature::{Parameter, Signature, Value};
use super::{DEEPEST, Die, Walk};

/// How deep pointers to functions are looked into.
const DEEPEST_FUNCTION: u32 = 3;

impl Walk<'_> {
    pub(super) fn signature(&self, die: &Die<'_, '_>, depth: u32) -> Signature {
        let result = self.reference(die, gimli::DW_AT_type).map(|kind| self.value(kind, depth));
        let mut parameters = Vec::new();
        self.for_children(die.offset(), |child| {
            let value = match child.tag() {
                gimli::DW_TAG_formal_parameter => self.value_of(child, depth),
                gimli::DW_TAG_unspecified_parameters => Value::Other("...".to_owned()),
                _ => return,
            };
            parameters.push(Parameter { name: self.name(child), value });
        });
        Signature { parameters, result }
    }

    fn value_of(&self, die: &Die<'_, '_>, depth: u32) -> Value {
        let kind = self.reference(die, gimli::DW_AT_type);
        kind.map_or_else(|| Value::Other("void".to_owned()), |kind| self.value(kind, depth))
    }

    fn value(&self, kind: UnitOffset, depth: u32) -> Value {
        let unknown = || Value::Other("?".to_owned());
        let Some((kind, alias)) = self.plain(kind) else { return unknown() };
        let Ok(die) = self.unit.entry(kind) else { return unknown() };
        let bytes = self.number(&die, gimli::DW_AT_byte_size).unwrap_or(0);
        let name = self.type_name(&die, alias);
        match die.tag() {
            gimli::DW_TAG_structure_type | gimli::DW_TAG_union_type => {
                Value::Aggregate { name, bytes }
            }
            gimli::DW_TAG_enumeration_type => Value::Integer { name, bytes, is_bool: false },
            gimli::DW_TAG_base_type => match self.encoding(&die) {
                Some(gimli::DW_ATE_float | gimli::DW_ATE_complex_float) => Value::Other(name),
                encoding => {
                    let is_bool = encoding == Some(gimli::DW_ATE_boolean);
                    Value::Integer { name, bytes, is_bool }
                }
            },
            gimli::DW_TAG_pointer_type => Value::Pointer(self.pointee(&die, depth)),
            _ => Value::Other(name),
        }
    }

    /// What a pointer leads to. Integers of one size are one: `char` and `u8`.
    fn pointee(&self, pointer: &Die<'_, '_>, depth: u32) -> String {
        let nothing = || "void".to_owned();
        let Some(kind) = self.reference(pointer, gimli::DW_AT_type) else { return nothing() };
        let Some((kind, alias)) = self.plain(kind) else { return nothing() };
        let Ok(die) = self.unit.entry(kind) else { return nothing() };
        match die.tag() {
            gimli::DW_TAG_base_type | gimli::DW_TAG_enumeration_type => {
                let bytes = self.number(&die, gimli::DW_AT_byte_size).unwrap_or(0);
                match bytes {
                    1 => "char".to_owned(),
                    2 => "short".to_owned(),
                    4 => "int".to_owned(),
                    8 => "long".to_owned(),
                    _ => format!("integer of {bytes} bytes"),
                }
            }
            gimli::DW_TAG_pointer_type if depth < DEEPEST => {
                format!("{} *", self.pointee(&die, depth + 1))
            }
            gimli::DW_TAG_subroutine_type if depth < DEEPEST_FUNCTION => {
                self.signature(&die, depth + 1).to_string()
            }
            _ => self.type_name(&die, alias),
        }
    }

    /// A type without qualifiers and typedefs, and the last typedef's name.
    pub(super) fn plain(&self, mut kind: UnitOffset) -> Option<(UnitOffset, Option<String>)> {
        let mut alias = None;
        for _ in 0..DEEPEST {
            let die = self.unit.entry(kind).ok()?;
            match die.tag() {
                gimli::DW_TAG_typedef => alias = self.name(&die),
                gimli::DW_TAG_const_type
                | gimli::DW_TAG_volatile_type
                | gimli::DW_TAG_restrict_type
                | gimli::DW_TAG_atomic_type => {}
                _ => return Some((kind, alias)),
            }
            // Nothing is behind `const` of `const void *`.
            kind = self.reference(&die, gimli::DW_AT_type)?;
        }
        None
    }

    pub(super) fn type_name(&self, die: &Die<'_, '_>, alias: Option<String>) -> String {
        let kind = match die.tag() {
            gimli::DW_TAG_structure_type => "struct ",
            gimli::DW_TAG_union_type => "union ",
            gimli::DW_TAG_enumeration_type => "enum ",
            gimli::DW_TAG_base_type => "",
            _ => "type ",
        };
        match self.name(die) {
            Some(name) => format!("{kind}{name}"),
            None => alias.unwrap_or_else(|| format!("{kind}without a name")),
        }
    }

    pub(super) fn encoding(&self, die: &Die<'_, '_>) -> Option<gimli::DwAte> {
        match die.attr_value(gimli::DW_AT_encoding).ok()?? {
            gimli::AttributeValue::Encoding(encoding) => Some(encoding),
            _ => None,
        }
    }
}
