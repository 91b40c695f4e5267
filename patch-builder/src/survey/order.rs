//! A seed's order of files.

use sha2::{Digest, Sha256};

/// Where a file stands in the order that a seed gives for a purpose.
pub fn place(seed: u64, purpose: &str, file: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(purpose);
    hash.update([0]);
    hash.update(file);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_depends_on_seed_and_purpose_only() {
        assert_eq!(place(1, "file", "mm/a.c"), place(1, "file", "mm/a.c"));
        assert_ne!(place(1, "file", "mm/a.c"), place(2, "file", "mm/a.c"));
        assert_ne!(place(1, "file", "mm/a.c"), place(1, "load", "mm/a.c"));
    }
}
