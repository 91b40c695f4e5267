//! Builds descriptors, for tests and host tools.

use std::vec::Vec;

use super::records::{
    DataVersionRecord, DependencyRecord, DescriptorHeader, FunctionRecord, SharedFieldRecord,
    ValueRecord,
};
use super::{DESCRIPTOR_VERSION, MAGIC};
use crate::error::ErrorCode;
use crate::name;
use crate::registration::BUILD_ID_SIZE;

/// Puts a descriptor together. It checks names and the build id, since they would not fit
/// otherwise; everything else is as valid or invalid as the records it is given.
#[derive(Debug, Clone)]
pub struct DescriptorBuilder {
    header: DescriptorHeader,
    functions: Vec<FunctionRecord>,
    values: Vec<ValueRecord>,
    data: Vec<DataVersionRecord>,
    shared: Vec<SharedFieldRecord>,
    dependencies: Vec<DependencyRecord>,
}

impl DescriptorBuilder {
    /// A descriptor without functions for a patch of this name.
    ///
    /// # Errors
    /// The errors of [`name::field`].
    pub fn new(patch: &str) -> Result<Self, ErrorCode> {
        let header = DescriptorHeader {
            magic: MAGIC,
            version: DESCRIPTOR_VERSION,
            header_size: DescriptorHeader::SIZE as u32,
            name: name::field(patch)?,
            ..DescriptorHeader::default()
        };
        Ok(Self {
            header,
            functions: Vec::new(),
            values: Vec::new(),
            data: Vec::new(),
            shared: Vec::new(),
            dependencies: Vec::new(),
        })
    }

    /// Sets the header's flags.
    #[must_use]
    pub fn flags(mut self, flags: u32) -> Self {
        self.header.flags = flags;
        self
    }

    /// Sets the build id of the kernel that the patch is for.
    ///
    /// # Errors
    /// [`ErrorCode::BuildIdLength`] for more than 20 bytes.
    pub fn build_id(mut self, build_id: &[u8]) -> Result<Self, ErrorCode> {
        if build_id.len() > BUILD_ID_SIZE {
            return Err(ErrorCode::BuildIdLength);
        }
        self.header.build_id = [0; BUILD_ID_SIZE];
        for (place, byte) in self.header.build_id.iter_mut().zip(build_id) {
            *place = *byte;
        }
        self.header.build_id_length = build_id.len() as u32;
        Ok(self)
    }

    /// Adds a function.
    #[must_use]
    pub fn function(mut self, function: FunctionRecord) -> Self {
        self.functions.push(function);
        self
    }

    /// Adds a value.
    #[must_use]
    pub fn value(mut self, value: ValueRecord) -> Self {
        self.values.push(value);
        self
    }

    /// Adds a data version with its shared fields. The record's own `shared_first` and
    /// `shared_count` are overwritten.
    #[must_use]
    pub fn data_version(
        mut self,
        mut version: DataVersionRecord,
        shared: &[SharedFieldRecord],
    ) -> Self {
        version.shared_count = shared.len() as u32;
        version.shared_first = if shared.is_empty() { 0 } else { self.shared.len() as u32 };
        self.shared.extend_from_slice(shared);
        self.data.push(version);
        self
    }

    /// Adds a patch that must be applied before this one.
    ///
    /// # Errors
    /// The errors of [`name::field`].
    pub fn dependency(mut self, patch: &str) -> Result<Self, ErrorCode> {
        let name = name::field(patch)?;
        self.dependencies.push(DependencyRecord { name, ..DependencyRecord::default() });
        Ok(self)
    }

    /// The descriptor's bytes.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut header = self.header;
        let mut tables = Vec::new();
        let mut add = |records: &mut dyn Iterator<Item = Vec<u8>>| {
            let start = DescriptorHeader::SIZE + tables.len();
            let mut count = 0_u32;
            for record in records {
                count += 1;
                tables.extend_from_slice(&record);
            }
            (count, if count == 0 { 0 } else { start as u32 })
        };
        (header.function_count, header.function_offset) =
            add(&mut self.functions.iter().map(|record| record.to_bytes().to_vec()));
        (header.value_count, header.value_offset) =
            add(&mut self.values.iter().map(|record| record.to_bytes().to_vec()));
        (header.data_count, header.data_offset) =
            add(&mut self.data.iter().map(|record| record.to_bytes().to_vec()));
        (header.shared_count, header.shared_offset) =
            add(&mut self.shared.iter().map(|record| record.to_bytes().to_vec()));
        (header.dependency_count, header.dependency_offset) =
            add(&mut self.dependencies.iter().map(|record| record.to_bytes().to_vec()));
        header.total_length = (DescriptorHeader::SIZE + tables.len()) as u32;
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend_from_slice(&tables);
        bytes
    }
}
