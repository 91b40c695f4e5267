//! What the boot stub tells every task about the machine.

use lucos_system_info::SystemInfo;
use spin::Once;

/// The machine. The same value for all threads; the first call reads it.
///
/// # Panics
/// When the page does not hold it, which faults the task: nothing works without it.
// Not inlined: the stack that decoding takes is not needed again.
#[inline(never)]
pub fn system_info() -> &'static SystemInfo {
    static INFO: Once<SystemInfo> = Once::new();
    INFO.call_once(|| match read() {
        Some(info) => info,
        None => panic!("the system information is not readable"),
    })
}

#[cfg(target_os = "none")]
fn read() -> Option<SystemInfo> {
    use lucos_abi::layout::{SYSTEM_INFO, SYSTEM_INFO_SIZE};
    // SAFETY: the kernel maps this page for every task, readable, and never changes it while the
    // task runs.
    let page = unsafe { &*(SYSTEM_INFO as *const [u8; SYSTEM_INFO_SIZE]) };
    decode(page)
}

#[cfg(not(target_os = "none"))]
fn read() -> Option<SystemInfo> {
    decode(&[])
}

/// The system information in `page`: its length as a little-endian `u32`, then its postcard.
fn decode(page: &[u8]) -> Option<SystemInfo> {
    let (length, rest) = page.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    lucos_abi::message::decode(rest.get(..length)?).ok()
}

#[cfg(test)]
mod tests {
    use super::decode;
    use lucos_system_info::{Extension, MemoryKind, MemoryRange, SystemInfo};

    fn info() -> SystemInfo {
        let range = MemoryRange { start: 0x1000, length: 0x1000, kind: MemoryKind::Reserved };
        SystemInfo {
            memory: [range].into_iter().collect(),
            region: range,
            nvs: range,
            rsdp: 0xf0000,
            modules: heapless_vec(),
            apic_ids: [0].into_iter().collect(),
            physical_bits: 40,
            extension: Extension::Svm { features: 0, contains_init: false },
            framebuffer: None,
            efi: None,
        }
    }

    fn heapless_vec<T, V: FromIterator<T>>() -> V {
        core::iter::empty().collect()
    }

    #[test]
    fn the_length_prefix_is_obeyed() {
        let mut page = [0; 4096];
        let length = lucos_abi::message::encode(&info(), &mut page[4..]).unwrap();
        page[..4].copy_from_slice(&(length as u32).to_le_bytes());
        assert_eq!(decode(&page), Some(info()));

        page[..4].copy_from_slice(&(length as u32 + 1).to_le_bytes());
        assert_eq!(decode(&page), None);
        page[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode(&page), None);
        assert_eq!(decode(&page[..3]), None);
    }
}
