//! The pages that survive a restart.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use lucos_transaction::Store;
use lucos_transaction::journal::{STORE_MIN, StoreError};

use crate::fuse;

const CHUNK: usize = 256;

/// In chunks, of which states share those that are alike.
#[derive(Clone, PartialEq, Eq)]
pub struct Retained(Vec<Arc<[u8; CHUNK]>>);

static ZEROS: LazyLock<Arc<[u8; CHUNK]>> = LazyLock::new(|| Arc::new([0; CHUNK]));

/// Most chunks are never written.
impl Hash for Retained {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (number, chunk) in self.0.iter().enumerate() {
            if !Arc::ptr_eq(chunk, &ZEROS) && **chunk != [0; CHUNK] {
                number.hash(state);
                chunk.hash(state);
            }
        }
    }
}

/// A path through states is read by people.
impl std::fmt::Debug for Retained {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Retained")
    }
}

impl Retained {
    /// All zero.
    pub fn new() -> Self {
        Self(vec![ZEROS.clone(); STORE_MIN / CHUNK])
    }
}

impl Store for Retained {
    fn len(&self) -> usize {
        self.0.len() * CHUNK
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), StoreError> {
        for (place, byte) in (offset..).zip(bytes) {
            *byte = self.0.get(place / CHUNK).ok_or(StoreError)?[place % CHUNK];
        }
        Ok(())
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), StoreError> {
        fuse::step().map_err(|()| StoreError)?;
        for (place, byte) in (offset..).zip(bytes) {
            let chunk = self.0.get_mut(place / CHUNK).ok_or(StoreError)?;
            if chunk[place % CHUNK] != *byte {
                Arc::make_mut(chunk)[place % CHUNK] = *byte;
            }
        }
        Ok(())
    }
}
