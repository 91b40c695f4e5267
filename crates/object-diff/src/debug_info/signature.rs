//! How a function is called: what each parameter and the result are.

use core::fmt;

/// Most bytes of a structure that is returned in registers.
const IN_REGISTERS: u64 = 16;

/// What a parameter or a result is. Names count without typedefs and `const`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// An integer or an enumeration.
    Integer { name: String, bytes: u64, is_bool: bool },
    /// A pointer to what has this name.
    Pointer(String),
    /// A structure or union.
    Aggregate { name: String, bytes: u64 },
    /// Whatever else there is.
    Other(String),
}

/// A parameter; declarations may leave the name out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) name: Option<String>,
    pub(crate) value: Value,
}

/// A function as its callers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) result: Option<Value>,
}

impl Signature {
    /// The types are the same, and no parameter has another place.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let values = |signature: &Self| -> Vec<Value> {
            signature.parameters.iter().map(|parameter| parameter.value.clone()).collect()
        };
        values(self) == values(other) && self.result == other.result && !self.moves(other)
    }

    /// A function does what is meant when it is called as `old` was: it has no parameter more, finds
    /// each one where it was, and returns what callers of `old` look at.
    pub(crate) fn takes_calls_of(&self, old: &Self) -> bool {
        let takes = self.parameters.iter().enumerate().all(|(index, new)| {
            old.parameters.get(index).is_some_and(|old| new.value.can_read(&old.value))
        });
        let returns = match (&old.result, &self.result) {
            (None, None) => true,
            (None, Some(new)) => new.is_in_registers(),
            (Some(_), None) => false,
            (Some(old), Some(new)) => old.can_read(new),
        };
        takes && returns && !self.moves(old)
    }

    /// A parameter of the same name has another place.
    fn moves(&self, old: &Self) -> bool {
        self.parameters.iter().enumerate().any(|(index, new)| {
            let before = old.parameters.iter().position(|old| old.name == new.name);
            new.name.is_some() && before.is_some_and(|before| before != index)
        })
    }
}

impl Value {
    /// Who expects this understands what is passed as `other`.
    fn can_read(&self, other: &Self) -> bool {
        match (self, other) {
            // What lies above a narrower value is not defined, and a bool is 0 or 1.
            (
                Self::Integer { bytes, is_bool, .. },
                Self::Integer { bytes: given, is_bool: was, .. },
            ) => bytes <= given && is_bool == was,
            (Self::Pointer(name), Self::Pointer(other)) => {
                name == other || [name, other].iter().any(|name| *name == "void")
            }
            _ => self == other,
        }
    }

    fn is_in_registers(&self) -> bool {
        !matches!(self, Self::Aggregate { bytes, .. } if *bytes > IN_REGISTERS)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer { name, .. } | Self::Aggregate { name, .. } | Self::Other(name) => {
                write!(f, "{name}")
            }
            Self::Pointer(name) => write!(f, "{name} *"),
        }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            Some(result) => write!(f, "{result} (")?,
            None => write!(f, "void (")?,
        }
        for (index, parameter) in self.parameters.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let is_pointer = matches!(parameter.value, Value::Pointer(_));
            let name = parameter.name.as_deref().unwrap_or_default();
            let space = if name.is_empty() || is_pointer { "" } else { " " };
            write!(f, "{separator}{}{space}{name}", parameter.value)?;
        }
        write!(f, ")")
    }
}
