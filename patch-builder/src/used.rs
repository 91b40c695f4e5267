//! How a patch names what it uses of the kernel and its modules.

use serde::Serialize;

/// The object that the kernel itself is, in the names that patches use.
pub const KERNEL_OBJECT: &str = "vmlinux";

/// A symbol that new code uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Used {
    /// Name as the kernel shows it.
    pub name: String,
    /// `vmlinux` or a module; empty for one that is exported.
    pub object: String,
    /// Which of the symbols of that name in the object, from 1 by address; 0: the only one.
    pub nth: usize,
}

impl Used {
    /// The name of the undefined symbol in the module.
    #[must_use]
    pub fn symbol(&self) -> String {
        if self.object.is_empty() {
            return self.name.clone();
        }
        format!("lucos.select.{}.{}.{}", self.object, self.nth, self.name)
    }
}
