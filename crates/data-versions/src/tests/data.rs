//! Lists in the test's own memory.

use crate::pairs::{List, Pair, Shape, Side};

/// An address in the kernel's half.
pub(super) const KERNEL: u64 = 0xffff_8880_0000_0000;

#[derive(Clone, Debug)]
pub(super) struct Lists {
    pub by_object: Vec<Pair>,
    pub by_twin: Vec<Pair>,
    pub broken: bool,
}

impl Lists {
    pub fn new(pairs: impl IntoIterator<Item = Pair>) -> Self {
        let mut by_object: Vec<_> = pairs.into_iter().collect();
        let mut by_twin = by_object.clone();
        by_object.sort_by_key(|pair| pair.object);
        by_twin.sort_by_key(|pair| pair.twin);
        Self { by_object, by_twin, broken: false }
    }
}

impl List for Lists {
    type Error = ();

    fn len(&self) -> u32 {
        self.by_object.len() as u32
    }

    fn read(&mut self, sorted_by: Side, index: u32) -> Result<Pair, ()> {
        let list = match sorted_by {
            Side::Object => &self.by_object,
            Side::Twin => &self.by_twin,
        };
        match self.broken {
            true => Err(()),
            false => Ok(list[index as usize]),
        }
    }
}

pub(super) const fn shape(object: u32, twin: u32) -> Shape<'static> {
    Shape { object, twin, shared: &[] }
}
