//! The parser of descriptors.

use super::records::{
    DataVersionRecord, DependencyRecord, DescriptorHeader, FunctionRecord, SharedFieldRecord,
    ValueRecord,
};
use super::tables::{Claim, Table, check_cover};
use super::{
    DESCRIPTOR_VERSION, DataVersion, FLAG_CHECK_ONLY, FLAG_CLEAR_ONLY, FLAG_HOOKS, Function,
    HEADER_FLAGS, MAGIC, MAX_DATA_VERSIONS, MAX_DEPENDENCIES, MAX_FUNCTIONS, MAX_SHARED_FIELDS,
    MAX_VALUES, SharedField, Value, data, functions, values,
};
use crate::call::{DEPENDENCY_ITEMS, MAX_DESCRIPTOR_LENGTH};
use crate::error::{ErrorCode, Fault};
use crate::name;
use crate::registration::build_id_is_valid;

/// A descriptor that was checked as far as that is possible without the guest's memory.
#[derive(Debug, Clone, Copy)]
pub struct Descriptor<'a> {
    header: DescriptorHeader,
    functions: Table<'a>,
    values: Table<'a>,
    data: Table<'a>,
    shared: Table<'a>,
    dependencies: Table<'a>,
}

impl<'a> Descriptor<'a> {
    /// Checks a descriptor. `bytes` is exactly what was handed over.
    ///
    /// # Errors
    /// The first thing that is wrong, with the index of the entry and a detail: one of the errors
    /// from [`ErrorCode::DescriptorTruncated`] to [`ErrorCode::Dependency`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Fault> {
        let header = DescriptorHeader::read(bytes)
            .ok_or(Fault::new(ErrorCode::DescriptorTruncated, bytes.len() as u64))?;
        check_header(&header, bytes.len())?;
        let table = |count, offset, limit, record_size| {
            let claim = Claim { count, offset, limit, record_size };
            Table::find(bytes, DescriptorHeader::SIZE, &claim)
        };
        let descriptor = Self {
            functions: table(
                header.function_count,
                header.function_offset,
                MAX_FUNCTIONS,
                FunctionRecord::SIZE,
            )?,
            values: table(header.value_count, header.value_offset, MAX_VALUES, ValueRecord::SIZE)?,
            data: table(
                header.data_count,
                header.data_offset,
                MAX_DATA_VERSIONS,
                DataVersionRecord::SIZE,
            )?,
            shared: table(
                header.shared_count,
                header.shared_offset,
                MAX_SHARED_FIELDS,
                SharedFieldRecord::SIZE,
            )?,
            dependencies: table(
                header.dependency_count,
                header.dependency_offset,
                MAX_DEPENDENCIES,
                DependencyRecord::SIZE,
            )?,
            header,
        };
        descriptor.check(bytes.len())?;
        Ok(descriptor)
    }

    /// The header as the guest gave it.
    #[must_use]
    pub const fn header(&self) -> &DescriptorHeader {
        &self.header
    }

    /// Name of the patch.
    #[must_use]
    pub fn name(&self) -> &str {
        // The field was checked when the header was parsed.
        name::parse(&self.header.name).unwrap_or_default()
    }

    /// Whether only the checks are to be run.
    #[must_use]
    pub const fn is_check_only(&self) -> bool {
        self.header.flags & FLAG_CHECK_ONLY != 0
    }

    /// The build id of the kernel that the patch was made for; empty when it fits any.
    #[must_use]
    pub fn build_id(&self) -> &[u8] {
        self.header.build_id.get(..self.header.build_id_length as usize).unwrap_or_default()
    }

    /// Whether nobody may be inside the old functions.
    #[must_use]
    pub const fn is_clear_only(&self) -> bool {
        self.header.flags & FLAG_CLEAR_ONLY != 0
    }

    /// The functions to replace.
    pub fn functions(&self) -> impl Iterator<Item = Function> + use<'a> {
        let table = self.functions;
        // Every record was checked, so none ends the sequence early.
        (0..table.len()).map_while(move |index| functions::get(&table, index)?.ok())
    }

    /// The function with this index.
    #[must_use]
    pub fn function(&self, index: usize) -> Option<Function> {
        functions::get(&self.functions, index)?.ok()
    }

    /// The values to change.
    pub fn values(&self) -> impl Iterator<Item = Value> + use<'a> {
        let table = self.values;
        (0..table.len()).map_while(move |index| values::get(&table, index)?.ok())
    }

    /// The data versions.
    pub fn data_versions(&self) -> impl Iterator<Item = DataVersion> + use<'a> {
        let table = self.data;
        (0..table.len()).map_while(move |index| data::get(&table, index)?.ok())
    }

    /// The fields that both versions of an object share.
    pub fn shared_fields(
        &self,
        version: &DataVersion,
    ) -> impl Iterator<Item = SharedField> + use<'a> {
        let table = self.shared;
        let first = version.record().shared_first as usize;
        (first..first.saturating_add(version.record().shared_count as usize))
            .map_while(move |index| SharedFieldRecord::read(table.get(index)?))
    }

    /// The names of the patches that must be applied before this one.
    pub fn dependencies(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let table = self.dependencies;
        (0..table.len()).map_while(move |index| dependency(&table, index)?.ok())
    }

    fn check(&self, length: usize) -> Result<(), Fault> {
        check_cover(
            [&self.functions, &self.values, &self.data, &self.shared, &self.dependencies],
            DescriptorHeader::SIZE,
            length,
        )?;
        let tables = [&self.functions, &self.values, &self.data];
        let has_hooks = self.header.flags & FLAG_HOOKS != 0;
        if !has_hooks && tables.iter().all(|table| table.len() == 0) {
            return Err(Fault::new(ErrorCode::NothingToDo, 0));
        }
        functions::check(&self.functions)?;
        values::check(&self.values)?;
        data::check(&self.data, &self.shared)?;
        self.check_dependencies()
    }

    fn check_dependencies(&self) -> Result<(), Fault> {
        for index in 0..self.dependencies.len() {
            // At most `MAX_DEPENDENCIES`.
            let item = DEPENDENCY_ITEMS + index as u32;
            let Some(name) = dependency(&self.dependencies, index) else {
                continue;
            };
            let name = name.map_err(|code| Fault::at(code, item, 0))?;
            let earlier = self.dependencies().take(index);
            if name == self.name() || earlier.into_iter().any(|other| other == name) {
                return Err(Fault::at(ErrorCode::Dependency, item, 0));
            }
        }
        Ok(())
    }
}

/// The name of one dependency; `None` behind the last one.
fn dependency<'a>(table: &Table<'a>, index: usize) -> Option<Result<&'a str, ErrorCode>> {
    let bytes = table.get(index)?;
    let record = DependencyRecord::read(bytes)?;
    if record.reserved != 0 {
        return Some(Err(ErrorCode::Reserved));
    }
    // The name is the first field; it is borrowed from the descriptor, not from the copy.
    let field: &[u8; name::NAME_SIZE] = bytes.first_chunk()?;
    Some(name::parse(field))
}

fn check_header(header: &DescriptorHeader, length: usize) -> Result<(), Fault> {
    let fault = |code, detail: u32| Err(Fault::new(code, detail.into()));
    if header.magic != MAGIC {
        return fault(ErrorCode::Magic, 0);
    }
    if header.version != DESCRIPTOR_VERSION {
        return fault(ErrorCode::DescriptorVersion, header.version);
    }
    if header.header_size as usize != DescriptorHeader::SIZE {
        return fault(ErrorCode::HeaderSize, header.header_size);
    }
    if header.total_length as usize != length || length > MAX_DESCRIPTOR_LENGTH {
        return fault(ErrorCode::TotalLength, header.total_length);
    }
    if header.flags & !HEADER_FLAGS != 0 {
        return fault(ErrorCode::UnknownFlag, header.flags);
    }
    name::parse(&header.name).map_err(|code| Fault::new(code, 0))?;
    if !build_id_is_valid(&header.build_id, header.build_id_length) {
        return fault(ErrorCode::BuildIdLength, header.build_id_length);
    }
    if header.reserved != [0; 3] {
        return fault(ErrorCode::Reserved, 0);
    }
    Ok(())
}
