//! Moving the contents of objects and twins.

use heapless::Vec;
use lucos_abi::message::PAYLOAD_MAX;
use lucos_service::{AddressSpace, MemoryError, PairCopy};

use crate::PAGE;
use crate::access;
use crate::map::GuestMap;
use crate::platform::Platform;
use crate::translate;

/// Bytes of a pair in a list: the addresses of its object and its twin.
const PAIR: u64 = 16;
/// Bytes that are written by one store.
const WORD: u64 = 8;

/// Pairs that are read at a time.
const CHUNK: usize = 64;

/// Copies one half of every place of a stage to one side of its pair. To do it once more changes
/// nothing.
///
/// # Errors
/// [`MemoryError`]; the first pairs may be copied.
pub fn copy(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    space: AddressSpace,
    copy: &PairCopy,
) -> Result<(), MemoryError> {
    let (size, step) = (copy.size as usize, copy.step as usize);
    let (mut pairs, mut places) = ([[[0; 8]; 2]; CHUNK], [0; PAGE as usize]);
    let spare = places.len().checked_sub(size).ok_or(MemoryError::TooLong)?;
    // As many places as fit, without what is behind the last one's half.
    let most = spare.checked_div(step).map_or(1, |more| CHUNK.min(1 + more));
    let [mut list, mut stage, mut sides] = [Range::new(map, space); 3];
    let mut writer = Writer { gpa: 0, data: Vec::new() };
    let mut number = 0;
    while number < copy.count {
        let count = most.min((copy.count - number) as usize);
        let pairs = pairs.get_mut(..count).ok_or(MemoryError::TooLong)?;
        let address = copy.pairs.wrapping_add(u64::from(number) * PAIR);
        list.read(platform, address, pairs.as_flattened_mut().as_flattened_mut())?;
        let length = (count - 1) * step + size;
        let places = places.get_mut(..length).ok_or(MemoryError::TooLong)?;
        let offset = u64::from(number) * u64::from(copy.step) + u64::from(copy.offset);
        stage.read(platform, copy.stage.wrapping_add(offset), places)?;
        for (index, pair) in pairs.iter().enumerate() {
            let [object, twin] = pair.map(u64::from_le_bytes);
            let address = if copy.to_twins { twin } else { object };
            let bytes = places.get(index * step..index * step + size);
            sides.write(platform, &mut writer, address, bytes.ok_or(MemoryError::TooLong)?)?;
        }
        number += count as u32;
    }
    writer.flush(platform)
}

/// Writes those words of `to` that differ from `from`, each at once.
///
/// # Errors
/// [`MemoryError`]; the first words may be written.
pub fn publish(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    space: AddressSpace,
    from: u64,
    to: u64,
    length: u32,
) -> Result<(), MemoryError> {
    let (mut new, mut old) = ([0; PAGE as usize], [0; PAGE as usize]);
    let new = new.get_mut(..length as usize).ok_or(MemoryError::TooLong)?;
    let old = old.get_mut(..length as usize).ok_or(MemoryError::TooLong)?;
    let [mut source, mut target] = [Range::new(map, space); 2];
    source.read(platform, from, new)?;
    target.read(platform, to, old)?;
    let mut writer = Writer { gpa: 0, data: Vec::new() };
    let mut done = 0;
    while done < new.len() {
        let address = to.wrapping_add(done as u64);
        let word = (WORD - address % WORD) as usize;
        let end = new.len().min(done + word);
        let (now, then) = (new.get(done..end), old.get(done..end));
        if let Some(word) = now.filter(|_| now != then) {
            let (gpa, _) = target.piece(platform, address, word.len())?;
            writer.write(platform, gpa, word)?;
        }
        done = end;
    }
    writer.flush(platform)
}

/// Fills a range with zeros.
///
/// # Errors
/// [`MemoryError`]; the first bytes may be zero.
pub fn zero(
    platform: &mut impl Platform,
    map: &GuestMap<'_>,
    space: AddressSpace,
    address: u64,
    length: u64,
) -> Result<(), MemoryError> {
    let end = address.checked_add(length).ok_or(MemoryError::BadAddress)?;
    let mut range = Range::new(map, space);
    let mut next = address;
    while next < end {
        let most = (end - next).min(PAYLOAD_MAX as u64) as usize;
        let (gpa, length) = range.piece(platform, next, most)?;
        let zeros = [0; PAYLOAD_MAX];
        access::write_physical(platform, gpa, zeros.get(..length).unwrap_or_default())?;
        next += length as u64;
    }
    Ok(())
}

/// A range of guest-virtual addresses that is gone through; the last page's place is remembered.
#[derive(Clone, Copy)]
struct Range<'a> {
    map: &'a GuestMap<'a>,
    space: AddressSpace,
    /// A page's address, and its guest-physical one.
    last: Option<(u64, u64)>,
}

impl<'a> Range<'a> {
    const fn new(map: &'a GuestMap<'a>, space: AddressSpace) -> Self {
        Self { map, space, last: None }
    }

    /// Where `address` is in memory, and how many of `length` bytes lie on the same page.
    fn piece(
        &mut self,
        platform: &mut impl Platform,
        address: u64,
        length: usize,
    ) -> Result<(u64, usize), MemoryError> {
        let offset = address % PAGE;
        let page = address - offset;
        let gpa = match self.last {
            Some((last, gpa)) if last == page => gpa,
            _ => {
                let gpa = translate::page(platform, self.map, self.space, page)?.gpa;
                self.map.check(gpa, PAGE)?;
                gpa
            }
        };
        self.last = Some((page, gpa));
        Ok((gpa + offset, length.min((PAGE - offset) as usize)))
    }

    fn read(
        &mut self,
        platform: &mut impl Platform,
        mut address: u64,
        mut to: &mut [u8],
    ) -> Result<(), MemoryError> {
        while !to.is_empty() {
            let (gpa, length) = self.piece(platform, address, to.len())?;
            let (part, behind) = to.split_at_mut(length);
            access::read_physical(platform, gpa, part)?;
            address = address.checked_add(length as u64).ok_or(MemoryError::BadAddress)?;
            to = behind;
        }
        Ok(())
    }

    fn write(
        &mut self,
        platform: &mut impl Platform,
        writer: &mut Writer,
        mut address: u64,
        mut bytes: &[u8],
    ) -> Result<(), MemoryError> {
        while !bytes.is_empty() {
            let (gpa, length) = self.piece(platform, address, bytes.len())?;
            let (part, behind) = bytes.split_at(length);
            writer.write(platform, gpa, part)?;
            address = address.checked_add(length as u64).ok_or(MemoryError::BadAddress)?;
            bytes = behind;
        }
        Ok(())
    }
}

/// What follows in memory goes there in one message.
struct Writer {
    gpa: u64,
    data: Vec<u8, PAYLOAD_MAX>,
}

impl Writer {
    fn write(
        &mut self,
        platform: &mut impl Platform,
        gpa: u64,
        mut data: &[u8],
    ) -> Result<(), MemoryError> {
        let end = self.gpa + self.data.len() as u64;
        if gpa != end || self.data.len() + data.len() > PAYLOAD_MAX {
            self.flush(platform)?;
            self.gpa = gpa;
        }
        while self.data.extend_from_slice(data).is_err() {
            // Longer than a message.
            let (part, behind) = data.split_at(PAYLOAD_MAX);
            access::write_physical(platform, self.gpa, part)?;
            self.gpa += part.len() as u64;
            data = behind;
        }
        Ok(())
    }

    fn flush(&mut self, platform: &mut impl Platform) -> Result<(), MemoryError> {
        if !self.data.is_empty() {
            access::write_physical(platform, self.gpa, &self.data)?;
        }
        self.data.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
