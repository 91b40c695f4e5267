//! The lists of a version's pairs and pages, which lie in memory of the guest.
//!
//! While they are used the guest cannot write them: their pages are *sealed*. They are read by their
//! guest-physical addresses, as they were found when they were sealed, whatever the guest's page tables
//! say later.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::RefCell;

use lucos_abi::layout::PAGE;
use lucos_data_versions::pages::PAGES_MAX;
use lucos_data_versions::pairs::{check, check_pages};
use lucos_data_versions::{List, Pair, Shape, Side};
use lucos_guest_interface::{ErrorCode, Fault, Part};
use lucos_service::client::Failure;
use lucos_service::{AddressSpace, MemoryError};
use lucos_transaction::version::Lists;

use crate::guest::subject_error;
use crate::platform::Platform;

/// Bytes of an entry of the list of pages.
const WORD: u64 = 8;

/// A list in memory of the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Located {
    address: u64,
    /// The guest-physical addresses of its pages.
    pages: Vec<u64>,
}

impl Located {
    /// Finds `length` bytes from `address` on, at most as many pages as can be guarded.
    ///
    /// # Errors
    /// [`Failure`]
    pub fn find<P: Platform>(
        platform: &mut P,
        space: AddressSpace,
        address: u64,
        length: u64,
    ) -> Result<Self, Failure> {
        let mut pages = Vec::new();
        if length == 0 {
            return Ok(Self { address, pages });
        }
        let last = address.checked_add(length - 1).ok_or(bad_address())? / PAGE;
        let count = last - address / PAGE + 1;
        let count = usize::try_from(count).ok().filter(|&count| count <= PAGES_MAX);
        pages.try_reserve_exact(count.ok_or(too_many())?).map_err(|_| too_many())?;
        for page in address / PAGE..=last {
            pages.push(platform.translate(space, page * PAGE)?);
        }
        Ok(Self { address, pages })
    }

    /// The guest-physical addresses of its pages.
    pub fn pages(&self) -> &[u64] {
        &self.pages
    }

    /// Reads from the byte at `offset` on.
    fn read<P: Platform>(
        &self,
        platform: &mut P,
        offset: u64,
        mut to: &mut [u8],
    ) -> Result<(), Failure> {
        let mut next = self.address % PAGE + offset;
        while !to.is_empty() {
            let in_page = next % PAGE;
            let page = usize::try_from(next / PAGE).ok().and_then(|page| self.pages.get(page));
            let gpa = page.ok_or(bad_address())? + in_page;
            let length = to.len().min((PAGE - in_page) as usize);
            let (part, rest) = to.split_at_mut(length);
            platform.look(gpa, part)?;
            next += length as u64;
            to = rest;
        }
        Ok(())
    }
}

const fn bad_address() -> Failure {
    Failure::Memory(MemoryError::BadAddress)
}

const fn too_many() -> Failure {
    Failure::Memory(MemoryError::TooManyPages)
}

/// The lists of a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    lists: Lists,
    /// By the side that they are sorted by.
    pairs: [Located; 2],
    pages: Located,
}

impl Sealed {
    /// Finds the lists. They are to be sealed before they are read.
    ///
    /// # Errors
    /// [`Failure`]
    pub fn find<P: Platform>(
        platform: &mut P,
        space: AddressSpace,
        lists: Lists,
    ) -> Result<Self, Failure> {
        let length = u64::from(lists.pairs) * Pair::SIZE as u64;
        let mut find = |address, length| Located::find(platform, space, address, length);
        Ok(Self {
            lists,
            pairs: [find(lists.by_object, length)?, find(lists.by_twin, length)?],
            pages: find(lists.pages, u64::from(lists.page_count) * WORD)?,
        })
    }

    /// What the guest said of them.
    pub const fn lists(&self) -> &Lists {
        &self.lists
    }

    /// The guest-physical addresses of the pages on which the lists lie; some come several times.
    pub fn own_pages(&self) -> impl Iterator<Item = u64> + '_ {
        let [one, other] = &self.pairs;
        [one, other, &self.pages].into_iter().flat_map(|list| list.pages()).copied()
    }

    /// The pairs. Several lists can be read in turn.
    pub const fn pairs<'a, 'b, P: Platform>(
        &'a self,
        platform: &'a RefCell<&'b mut P>,
    ) -> Pairs<'a, 'b, P> {
        Pairs { sealed: self, platform }
    }

    /// The address of a page of objects and twins, by its number.
    ///
    /// # Errors
    /// [`Failure`]
    pub fn page<P: Platform>(&self, platform: &mut P, number: u32) -> Result<u64, Failure> {
        let mut bytes = [0; WORD as usize];
        self.pages.read(platform, u64::from(number) * WORD, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Checks everything that must be true of the lists.
    ///
    /// # Errors
    /// What is wrong, of the version with this item number.
    pub fn check<P: Platform>(
        &self,
        platform: &mut P,
        shape: &Shape<'_>,
        item: u32,
    ) -> Result<(), Fault> {
        let broken = Part::Liveupdate.fault(item);
        let platform = RefCell::new(platform);
        let mut pairs = Chunks::new(self.pairs(&platform));
        check(&mut pairs, shape).map_err(|problem| problem.fault(item).unwrap_or(broken))?;
        // It is asked for once for each pair, and many pairs lie on one page.
        let mut last = None;
        let page = |pairs: &mut Chunks<'_, '_, P>, number| match last {
            Some((asked, address)) if asked == number => Ok(address),
            _ => {
                let address = self.page(*pairs.list.platform.borrow_mut(), number)?;
                last = Some((number, address));
                Ok(address)
            }
        };
        check_pages(&mut pairs, shape, self.lists.page_count, page)
            .map_err(|problem| problem.fault(item).unwrap_or(broken))
    }

    /// The pages of objects and twins, all of which are memory: guest-physical and guest-virtual
    /// addresses.
    ///
    /// # Errors
    /// [`Failure`], and the address that was asked for.
    pub fn find_data<P: Platform>(
        &self,
        platform: &mut P,
        space: AddressSpace,
    ) -> Result<Vec<(u64, u64)>, (Failure, u64)> {
        let mut found = Vec::new();
        let count = usize::try_from(self.lists.page_count).unwrap_or(usize::MAX);
        found.try_reserve_exact(count).map_err(|_| (too_many(), 0))?;
        for number in 0..self.lists.page_count {
            let address = self.page(platform, number).map_err(|failure| (failure, 0))?;
            let gpa = platform.translate(space, address).and_then(|gpa| {
                platform.read_physical(gpa, &mut [0])?;
                Ok(gpa)
            });
            found.push((gpa.map_err(|failure| (failure, address))?, address));
        }
        Ok(found)
    }
}

/// The two lists of pairs, as they are read.
#[derive(Debug)]
pub struct Pairs<'a, 'b, P> {
    sealed: &'a Sealed,
    platform: &'a RefCell<&'b mut P>,
}

impl<P: Platform> Pairs<'_, '_, P> {
    /// Reads what follows from `index` on.
    fn read_all(&mut self, sorted_by: Side, index: u32, to: &mut [u8]) -> Result<(), Failure> {
        let [by_object, by_twin] = &self.sealed.pairs;
        let list = match sorted_by {
            Side::Object => by_object,
            Side::Twin => by_twin,
        };
        let mut platform = self.platform.borrow_mut();
        list.read(*platform, u64::from(index) * Pair::SIZE as u64, to)
    }
}

impl<P: Platform> List for Pairs<'_, '_, P> {
    type Error = Failure;

    fn len(&self) -> u32 {
        self.sealed.lists.pairs
    }

    fn read(&mut self, sorted_by: Side, index: u32) -> Result<Pair, Failure> {
        let mut bytes = [0; Pair::SIZE];
        self.read_all(sorted_by, index, &mut bytes)?;
        Ok(Pair::from_bytes(bytes))
    }
}

/// How many pairs lie together in a chunk.
const CHUNK: u32 = 64;
/// Chunks that are kept of each list.
const CHUNKS: usize = 32;

/// Pairs that lie together.
struct Chunk {
    number: u32,
    pairs: [[u8; Pair::SIZE]; CHUNK as usize],
}

/// The two lists of pairs for who reads all of them: chunks that were read are kept.
struct Chunks<'a, 'b, P> {
    list: Pairs<'a, 'b, P>,
    kept: [Vec<Option<Box<Chunk>>>; 2],
}

impl<'a, 'b, P> Chunks<'a, 'b, P> {
    fn new(list: Pairs<'a, 'b, P>) -> Self {
        let nothing = || core::iter::repeat_with(|| None).take(CHUNKS).collect();
        Self { list, kept: [nothing(), nothing()] }
    }
}

impl<P: Platform> List for Chunks<'_, '_, P> {
    type Error = Failure;

    fn len(&self) -> u32 {
        self.list.len()
    }

    fn read(&mut self, sorted_by: Side, index: u32) -> Result<Pair, Failure> {
        let (number, first) = (index / CHUNK, index - index % CHUNK);
        let [by_object, by_twin] = &mut self.kept;
        let kept = match sorted_by {
            Side::Object => by_object,
            Side::Twin => by_twin,
        };
        let place = kept.get_mut(number as usize % CHUNKS).ok_or(Failure::Protocol)?;
        if place.as_ref().is_none_or(|kept| kept.number != number) {
            let mut chunk = Box::new(Chunk { number, pairs: [[0; Pair::SIZE]; CHUNK as usize] });
            let count = CHUNK.min(self.list.len().saturating_sub(first)) as usize;
            let bytes = chunk.pairs.get_mut(..count).ok_or(Failure::Protocol)?;
            self.list.read_all(sorted_by, first, bytes.as_flattened_mut())?;
            *place = Some(chunk);
        }
        let pair = place.as_ref().and_then(|chunk| chunk.pairs.get((index - first) as usize));
        pair.copied().map(Pair::from_bytes).ok_or(Failure::Protocol)
    }
}

/// What the guest is told when something fails at an address that it named for a version.
pub fn list_fault(failure: Failure, address: u64, item: u32) -> Fault {
    match failure {
        Failure::Memory(MemoryError::TooManyPages | MemoryError::NoRoom) => {
            Fault::at(ErrorCode::TooManyPages, item, PAGES_MAX as u64)
        }
        Failure::Memory(MemoryError::OtherGuard { .. }) => {
            Fault::at(ErrorCode::DataOverlap, item, address)
        }
        failure => subject_error(failure, address).fault(item),
    }
}
