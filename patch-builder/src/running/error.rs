//! Why an object is not the one that runs.

/// Why an object is not the one that runs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The compiled object is malformed.
    #[error("{object} is malformed: {reason}")]
    Malformed {
        /// The object.
        object: String,
        /// What is wrong.
        reason: String,
    },
    /// Code differs.
    #[error(
        "{object} is not what runs: {function} differs at byte {offset:#x} ({compiled} was \
         compiled, {running} runs); source, configuration or compiler are not this kernel's"
    )]
    Differs {
        /// The object.
        object: String,
        /// The function.
        function: String,
        /// Where, in bytes from its start.
        offset: u64,
        /// The instruction that was compiled.
        compiled: String,
        /// The one that runs.
        running: String,
    },
    /// The kernel has no such function or variable.
    #[error(
        "{object}: the kernel that runs has no function or variable {function}; use another one, or \
         leave out what needs it"
    )]
    Absent {
        /// The object.
        object: String,
        /// The function.
        function: String,
    },
    /// Several symbols have the name.
    #[error(
        "{object}: {name} is ambiguous: the kernel has {count} of that name, and nothing tells which \
         one is meant; leave out what needs it, or call a copy of it under another name"
    )]
    Ambiguous {
        /// The object.
        object: String,
        /// The symbol.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// What was compiled as one thing is two in the code that runs.
    #[error(
        "{object}: {name} is one thing in what was compiled and two in what runs ({first}, {other}); \
         source, configuration or compiler are not this kernel's"
    )]
    TwoPlaces {
        /// The object.
        object: String,
        /// The symbol.
        name: String,
        /// A place and where it leads.
        first: String,
        /// Another one.
        other: String,
    },
    /// Symbols of one name are in memory of different kinds.
    #[error(
        "{object}: {name} cannot be told from the others of that name: {module} has them in \
         different kinds of memory, and their order is known only when it is loaded; leave out what \
         needs it, or call a copy of it under another name"
    )]
    Unordered {
        /// The object.
        object: String,
        /// The symbol.
        name: String,
        /// The module.
        module: String,
    },
    /// A symbol is where it should not be.
    #[error(
        "{object}: {name} is at {address:#x} in the code that runs, where the kernel's table has no \
         such symbol; leave out what needs it"
    )]
    NotASymbol {
        /// The object.
        object: String,
        /// The symbol.
        name: String,
        /// Its address.
        address: u64,
    },
}
