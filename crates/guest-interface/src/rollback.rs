//! What is rolled back in one step, and the memory for it.
//!
//! A rollback record is a [`RollbackHeader`], and behind it a [`RollbackVersion`] for each data
//! version of each of its patches. A patch without data versions can be rolled back without one.

use crate::call::DATA_ITEMS;
use crate::descriptor::data::Lists;
use crate::error::{ErrorCode, Fault};
use crate::group::MAX_GROUP;

/// Version of the record.
pub const ROLLBACK_VERSION: u32 = 1;

/// Most data versions in a rollback record.
pub const MAX_ROLLBACK_VERSIONS: usize = MAX_GROUP * crate::descriptor::MAX_DATA_VERSIONS as usize;

/// Most bytes of a rollback record.
pub const MAX_ROLLBACK_LENGTH: usize =
    RollbackHeader::SIZE + MAX_ROLLBACK_VERSIONS * RollbackVersion::SIZE;

record! {
    /// The start of a rollback record.
    pub struct RollbackHeader = "lucos_rollback", 48 bytes {
        /// [`ROLLBACK_VERSION`].
        pub version: u32,
        /// Size of the record in bytes, this header included.
        pub total_length: u32,
        /// Number of patches, 1 to [`MAX_GROUP`].
        pub count: u32,
        /// Number of [`RollbackVersion`]s.
        pub data_count: u32,
        /// The patches in the order in which they are rolled back, each before those that it stands
        /// on or needs. The last one is that of the call; zero behind it.
        pub patches: [u32; 8],
    }
}

record! {
    /// The memory for one data version, as in
    /// [`DataVersionRecord`](crate::descriptor::DataVersionRecord).
    pub struct RollbackVersion = "lucos_rollback_version", 48 bytes {
        /// Address of the pairs, in the order of the objects.
        pub pairs_by_object: u64,
        /// Number of pairs.
        pub pair_count: u32,
        /// The flags of the data version.
        pub flags: u32,
        /// Address of the same pairs in the order of the twins.
        pub pairs_by_twin: u64,
        /// Address of the ascending addresses of all pages on which objects and twins lie.
        pub pages: u64,
        /// Number of pages.
        pub page_count: u32,
        /// Bytes from one place of the stage to the next, a multiple of 16.
        pub stage_step: u32,
        /// Address of the stage, a page's start.
        pub stage: u64,
    }
}

/// A rollback record that was checked.
#[derive(Debug, Clone, Copy)]
pub struct RollbackRecord<'a> {
    header: RollbackHeader,
    versions: &'a [u8],
}

impl<'a> RollbackRecord<'a> {
    /// Checks a rollback record. `bytes` is exactly what was handed over, for a rollback of `number`.
    ///
    /// # Errors
    /// `RollbackRecord` at the offset of the wrong field; the errors of a descriptor's data versions,
    /// each at its index.
    pub fn parse(bytes: &'a [u8], number: u32) -> Result<Self, Fault> {
        let wrong = |offset: usize| Fault::new(ErrorCode::RollbackRecord, offset as u64);
        let header = RollbackHeader::read(bytes).ok_or(wrong(0))?;
        if header.version != ROLLBACK_VERSION {
            return Err(wrong(0));
        }
        if header.total_length as usize != bytes.len() || bytes.len() > MAX_ROLLBACK_LENGTH {
            return Err(wrong(4));
        }
        let (patches, unused) =
            header.patches.split_at_checked(header.count as usize).ok_or(wrong(8))?;
        if patches.last() != Some(&number) {
            return Err(wrong(8));
        }
        let versions = bytes.get(RollbackHeader::SIZE..).unwrap_or_default();
        if header.data_count as usize * RollbackVersion::SIZE != versions.len() {
            return Err(wrong(12));
        }
        let twice = |(index, number): (usize, &u32)| {
            *number == 0 || patches.iter().skip(index + 1).any(|other| other == number)
        };
        if patches.iter().enumerate().any(twice) || unused.iter().any(|&number| number != 0) {
            return Err(wrong(16));
        }
        let record = Self { header, versions };
        record.check_versions()?;
        Ok(record)
    }

    /// Numbers of the patches in the order in which they are rolled back.
    #[must_use]
    pub fn patches(&self) -> &[u32] {
        self.header.patches.get(..self.header.count as usize).unwrap_or_default()
    }

    /// The memory for each data version of these patches, in the same order.
    pub fn versions(&self) -> impl Iterator<Item = RollbackVersion> + use<'a> {
        self.versions.chunks_exact(RollbackVersion::SIZE).map_while(RollbackVersion::read)
    }

    fn check_versions(&self) -> Result<(), Fault> {
        for (index, version) in self.versions().enumerate() {
            // At most `MAX_ROLLBACK_VERSIONS`.
            let at = |code, detail| Fault::at(code, DATA_ITEMS + index as u32, detail);
            let lists = lists(&version);
            // How large an object is only LUCOS knows.
            lists.check(1).map_err(|(code, detail)| at(code, detail))?;
            let earlier = self.versions().take(index).map(|other| self::lists(&other));
            let mut earlier = earlier.into_iter();
            if lists.are_in_their_own_way() || earlier.any(|other| lists.are_in_the_way_of(&other))
            {
                return Err(at(ErrorCode::DataOverlap, version.stage));
            }
        }
        Ok(())
    }
}

const fn lists(version: &RollbackVersion) -> Lists {
    Lists {
        pairs_by_object: version.pairs_by_object,
        pair_count: version.pair_count,
        flags: version.flags,
        pairs_by_twin: version.pairs_by_twin,
        pages: version.pages,
        page_count: version.page_count,
        stage_step: version.stage_step,
        stage: version.stage,
    }
}
