//! A boot stub that finds another memory map than the machine's firmware has.
//!
//! The copy of the stub has one segment more, with the map and a few instructions in it. They are
//! the new PVH entry point: they put the map into the start information that QEMU made, and go on to
//! the stub's own entry point.

use std::fs;
use std::path::Path;

use libtest_mimic::Failed;

/// Where code and map are loaded: RAM that neither firmware nor stub uses. The map comes first.
const PLACE: u64 = 0x200_0000;
const ENTRY: u64 = 24;
/// Sizes of a program header, and of what it describes (System V ABI, chapter 5).
const HEADER: usize = 56;
const LOAD: u32 = 1;
const READ_EXECUTE: u32 = 5;
/// The PVH note: lengths of name and descriptor, type 18, "Xen", and the entry point.
const NOTE: [u8; 16] = *b"\x04\0\0\0\x04\0\0\0\x12\0\0\0Xen\0";

/// A range as the BIOS's E820 and PVH tell it: first byte, length, kind.
pub type MadeUpRange = (u64, u64, u32);

/// Writes a copy of the stub `from` to `to` that finds `map`.
///
/// # Errors
/// When `from` is no boot stub.
pub fn write_stub(from: &Path, to: &Path, map: &[MadeUpRange]) -> Result<(), Failed> {
    let mut file = fs::read(from)?;
    let note = file.windows(NOTE.len()).position(|bytes| *bytes == NOTE).ok_or("no PVH note")?;
    let at = note + NOTE.len();
    let old = u32::from_le_bytes(array(&file, at)?);
    let blob = blob(map, old);
    let code = PLACE + map.len() as u64 * ENTRY;
    put(&mut file, at, &(code as u32).to_le_bytes())?;

    // The program headers move to the end, where there is room for one more.
    let headers = u64::from_le_bytes(array(&file, 32)?) as usize;
    let count = u16::from_le_bytes(array(&file, 56)?);
    let length = usize::from(count) * HEADER;
    let mut table = file.get(headers..headers + length).ok_or("it is cut off")?.to_vec();
    file.resize(file.len().next_multiple_of(4096), 0);
    let offset = file.len() as u64;
    table.extend([LOAD.to_le_bytes(), READ_EXECUTE.to_le_bytes()].concat());
    let size = blob.len() as u64;
    table.extend([offset, PLACE, PLACE, size, size, 4096].map(u64::to_le_bytes).concat());
    file.extend(blob);
    let moved = file.len() as u64;
    file.extend(table);
    put(&mut file, 32, &moved.to_le_bytes())?;
    put(&mut file, 56, &(count + 1).to_le_bytes())?;
    fs::write(to, file)?;
    Ok(())
}

/// The map, and the code behind it. EBX is the start information's address (Xen's public header
/// `hvm/start_info.h`): the map's address is at 40, the number of its entries at 48.
fn blob(map: &[MadeUpRange], go_on: u32) -> Vec<u8> {
    let mut blob = Vec::new();
    for (start, length, kind) in map {
        blob.extend([*start, *length, u64::from(*kind)].map(u64::to_le_bytes).concat());
    }
    let code: [&[u8]; 5] = [
        &[0xc7, 0x43, 40], // mov dword ptr [ebx + 40], PLACE
        &(PLACE as u32).to_le_bytes(),
        &[0xc7, 0x43, 48], // mov dword ptr [ebx + 48], entries
        &(map.len() as u32).to_le_bytes(),
        &[0xb8], // mov eax, the stub's own entry point
    ];
    blob.extend(code.concat());
    blob.extend(go_on.to_le_bytes());
    blob.extend([0xff, 0xe0]); // jmp eax
    blob
}

fn array<const N: usize>(file: &[u8], at: usize) -> Result<[u8; N], Failed> {
    file.get(at..).and_then(<[u8]>::first_chunk).copied().ok_or_else(|| "it is cut off".into())
}

fn put(file: &mut [u8], at: usize, bytes: &[u8]) -> Result<(), Failed> {
    file.get_mut(at..at + bytes.len()).ok_or("it is cut off")?.copy_from_slice(bytes);
    Ok(())
}
