//! Types of fields, as far as the code of who uses a field depends on them.
//!
//! Typedefs, qualifiers and how an integer is spelled do not count, nor what an enumeration is called
//! and holds: it is an integer for the code. What a pointer leads to does, by its name: who follows
//! the pointer finds fields at the offsets of that type. The fields of a named structure are compared
//! under its own name, those without a name as fields of what they are in.

use core::fmt;
use std::rc::Rc;

use gimli::UnitOffset;

use super::{DEEPEST, Die, Walk};

/// The depth from which a function's parameters count: their number multiplies with each level.
const FUNCTION_DEPTH: u32 = DEEPEST - 6;

/// The type of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FieldKind {
    /// An integer or enumeration, no bool, of so many bytes; a field of bits has none of its own.
    Integer { is_signed: bool, bytes: Option<u64> },
    /// Whatever else there is, as C spells it.
    Other(String),
}

impl FieldKind {
    /// A value of one in memory is one of the other too.
    pub(crate) fn holds_values_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Integer { bytes, .. }, Self::Integer { bytes: others, .. }) => bytes == others,
            _ => self == other,
        }
    }
}

impl fmt::Display for FieldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (is_signed, bytes) = match self {
            Self::Integer { is_signed, bytes } => (is_signed, bytes),
            Self::Other(name) => return write!(f, "{name}"),
        };
        let sign = if *is_signed { "signed" } else { "unsigned" };
        match bytes {
            Some(1) => write!(f, "{sign} char"),
            Some(2) => write!(f, "{sign} short"),
            Some(4) => write!(f, "{sign} int"),
            Some(8) => write!(f, "{sign} long"),
            Some(bytes) => write!(f, "{sign} integer of {bytes} bytes"),
            None => write!(f, "{sign} bits"),
        }
    }
}

impl Walk<'_> {
    /// The type of a field that may be one of bits.
    pub(super) fn field_kind(&self, kind: Option<UnitOffset>, is_bits: bool) -> Rc<FieldKind> {
        let Some(kind) = kind else { return Rc::new(FieldKind::Other("?".to_owned())) };
        let known = self.kinds.borrow().get(&kind).cloned();
        let found = known.unwrap_or_else(|| {
            let found = Rc::new(self.kind(kind, 0));
            self.kinds.borrow_mut().insert(kind, Rc::clone(&found));
            found
        });
        match *found {
            FieldKind::Integer { is_signed, .. } if is_bits => {
                Rc::new(FieldKind::Integer { is_signed, bytes: None })
            }
            _ => found,
        }
    }

    fn kind(&self, kind: UnitOffset, depth: u32) -> FieldKind {
        let other = |text: &str| FieldKind::Other(text.to_owned());
        let Some((kind, alias)) = self.plain(kind) else { return other("void") };
        let Ok(die) = self.unit.entry(kind) else { return other("?") };
        match die.tag() {
            gimli::DW_TAG_base_type | gimli::DW_TAG_enumeration_type => {
                let bytes = Some(self.number(&die, gimli::DW_AT_byte_size).unwrap_or(0));
                match self.integer_sign(&die) {
                    Some(is_signed) => FieldKind::Integer { is_signed, bytes },
                    None => FieldKind::Other(self.type_name(&die, alias)),
                }
            }
            _ if depth > DEEPEST => other("..."),
            gimli::DW_TAG_pointer_type => {
                FieldKind::Other(format!("{} *", self.inner(&die, depth)))
            }
            gimli::DW_TAG_array_type => {
                FieldKind::Other(format!("{}{}", self.inner(&die, depth), self.dimensions(kind)))
            }
            gimli::DW_TAG_subroutine_type => FieldKind::Other(self.function_kind(&die, depth)),
            _ => FieldKind::Other(self.type_name(&die, alias)),
        }
    }

    /// The type that a pointer leads to, a function returns or an array has.
    fn inner(&self, die: &Die<'_, '_>, depth: u32) -> String {
        let inner = self.reference(die, gimli::DW_AT_type);
        inner.map_or_else(|| "void".to_owned(), |inner| self.kind(inner, depth + 1).to_string())
    }

    fn function_kind(&self, die: &Die<'_, '_>, depth: u32) -> String {
        let depth = depth.max(FUNCTION_DEPTH);
        let mut parameters = Vec::new();
        self.for_children(die.offset(), |child| match child.tag() {
            gimli::DW_TAG_formal_parameter => parameters.push(self.inner(child, depth + 1)),
            gimli::DW_TAG_unspecified_parameters => parameters.push("...".to_owned()),
            _ => {}
        });
        format!("{} ({})", self.inner(die, depth + 1), parameters.join(", "))
    }

    /// `[2][3]`; nothing between the brackets when the length is zero or open.
    fn dimensions(&self, array: UnitOffset) -> String {
        let mut text = String::new();
        self.for_children(array, |range| {
            if range.tag() == gimli::DW_TAG_subrange_type {
                let count = self.count(range).filter(|count| *count != 0);
                let count = count.map(|count| count.to_string()).unwrap_or_default();
                text += &format!("[{count}]");
            }
        });
        text
    }

    /// Whether an integer or enumeration has a sign; `None` for a bool or a floating-point number.
    fn integer_sign(&self, die: &Die<'_, '_>) -> Option<bool> {
        let underlying = || {
            let kind = self.reference(die, gimli::DW_AT_type)?;
            self.encoding(&self.unit.entry(self.plain(kind)?.0).ok()?)
        };
        match self.encoding(die).or_else(underlying) {
            Some(gimli::DW_ATE_signed | gimli::DW_ATE_signed_char) => Some(true),
            Some(gimli::DW_ATE_unsigned | gimli::DW_ATE_unsigned_char) => Some(false),
            None if die.tag() == gimli::DW_TAG_enumeration_type => Some(false),
            _ => None,
        }
    }
}
