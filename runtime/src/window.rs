//! Reading guest memory through the window that the kernel maps into some tasks.

use heapless::Vec;
use lucos_abi::boot::MAX_RANGES;
use lucos_abi::layout::GUEST_WINDOW_SIZE;
use lucos_system_info::SystemInfo;

/// Why bytes cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowError {
    /// The window shows nothing at this guest-physical address.
    NotReadable {
        /// The first such address.
        gpa: u64,
    },
}

/// The window on guest memory. A task whose manifest gives no right to read guest memory must not
/// use it: the kernel maps nothing there and ends the task.
#[derive(Clone, Debug)]
pub struct GuestWindow {
    /// What is mapped: start and end of whole pages, in order, apart from each other.
    mapped: Vec<(u64, u64), MAX_RANGES>,
    /// The largest of them: what is asked for lies there nearly always.
    main: (u64, u64),
}

impl GuestWindow {
    /// The window of this machine.
    pub fn new(info: &SystemInfo) -> Self {
        let readable = info.memory.iter().filter(|range| range.kind.is_readable());
        let mapped: Vec<_, MAX_RANGES> = readable.map(|range| (range.start, range.end())).collect();
        let main = mapped.iter().max_by_key(|(start, end)| end - start).copied();
        Self { mapped, main: main.unwrap_or_default() }
    }

    /// Whether the window shows all of `length` bytes from guest-physical address `gpa` on.
    ///
    /// # Errors
    /// [`WindowError`] with the first address that it does not show.
    pub fn check(&self, gpa: u64, length: usize) -> Result<(), WindowError> {
        let unreadable = |gpa| WindowError::NotReadable { gpa };
        let end = gpa
            .checked_add(length as u64)
            .filter(|&end| end <= GUEST_WINDOW_SIZE)
            .ok_or(unreadable(gpa))?;
        let (main, main_end) = self.main;
        if main <= gpa && end <= main_end {
            return Ok(());
        }
        // Bytes may lie in several pieces that touch each other.
        let mut next = gpa;
        for &(piece, piece_end) in &self.mapped {
            if next >= end {
                break;
            }
            if piece <= next && next < piece_end {
                next = piece_end;
            }
        }
        if next < end {
            return Err(unreadable(next));
        }
        Ok(())
    }

    /// Copies guest memory from `gpa` on into `to`, all or nothing. The guest may write at the same
    /// time: what is read twice may differ.
    ///
    /// # Errors
    /// [`WindowError`] when some of it is not in the window.
    pub fn read(&self, gpa: u64, to: &mut [u8]) -> Result<(), WindowError> {
        self.check(gpa, to.len())?;
        copy(gpa, to);
        Ok(())
    }
}

#[cfg(target_os = "none")]
fn copy(gpa: u64, to: &mut [u8]) {
    let mut from = lucos_abi::layout::GUEST_WINDOW + gpa;
    let unaligned = (from.wrapping_neg() as usize & 7).min(to.len());
    let (head, rest) = to.split_at_mut(unaligned);
    let (words, tail) = rest.as_chunks_mut::<8>();
    for byte in head {
        // SAFETY: `check` found every byte in the window, which the kernel keeps mapped for
        // reading; volatile, since the guest writes there too.
        *byte = unsafe { (from as *const u8).read_volatile() };
        from += 1;
    }
    for word in words {
        // SAFETY: as above; `from` is a multiple of 8 here.
        *word = unsafe { (from as *const u64).read_volatile() }.to_le_bytes();
        from += 8;
    }
    for byte in tail {
        // SAFETY: as above.
        *byte = unsafe { (from as *const u8).read_volatile() };
        from += 1;
    }
}

#[cfg(not(target_os = "none"))]
fn copy(_gpa: u64, to: &mut [u8]) {
    to.fill(0);
}

#[cfg(test)]
mod tests {
    use super::{GuestWindow, WindowError};
    use lucos_system_info::{Extension, MemoryKind, MemoryRange, SystemInfo};

    fn range(start: u64, end: u64, kind: MemoryKind) -> MemoryRange {
        MemoryRange { start, length: end - start, kind }
    }

    fn window() -> GuestWindow {
        let region = range(0x3000, 0x5000, MemoryKind::Region);
        let memory = [
            range(0x1000, 0x2000, MemoryKind::Ram),
            range(0x2000, 0x3000, MemoryKind::NvsArea),
            region,
            range(0x5000, 0x6000, MemoryKind::Ram),
            range(0x8000, 0x9000, MemoryKind::Firmware),
            range(0x9000, 0xa000, MemoryKind::Reserved),
            range(0xb000, 0xc000, MemoryKind::Bad),
        ];
        GuestWindow::new(&SystemInfo {
            memory: memory.into_iter().collect(),
            region,
            nvs: memory[1],
            rsdp: 0,
            modules: [].into_iter().collect(),
            apic_ids: [0].into_iter().collect(),
            physical_bits: 40,
            extension: Extension::Svm { features: 0, contains_init: false },
            framebuffer: None,
            efi: None,
        })
    }

    #[test]
    fn neighbouring_ranges_are_one() {
        assert_eq!(window().check(0x1000, 0x2000), Ok(()));
        assert_eq!(window().check(0x5000, 0x1000), Ok(()));
        assert_eq!(window().check(0x1fff, 2), Ok(()));
    }

    #[test]
    fn holes_the_hidden_region_and_wrapping_are_refused_with_the_first_bad_address() {
        let bad = |gpa, length| match window().check(gpa, length) {
            Err(WindowError::NotReadable { gpa }) => gpa,
            Ok(()) => panic!("{gpa:#x} is readable"),
        };
        assert_eq!(bad(0, 1), 0);
        assert_eq!(bad(0x2fff, 2), 0x3000);
        assert_eq!(bad(0x4fff, 2), 0x4fff);
        assert_eq!(bad(0x5fff, 2), 0x6000);
        assert_eq!(bad(0xb000, 1), 0xb000);
        assert_eq!(bad(u64::MAX, 2), u64::MAX);
        assert_eq!(bad(0x3fff_ffff_ffff, 2), 0x3fff_ffff_ffff);
    }

    #[test]
    fn what_reading_could_change_is_not_in_the_window() {
        assert_eq!(window().check(0x8000, 0x1000), Ok(()));
        let device = WindowError::NotReadable { gpa: 0x9000 };
        assert_eq!(window().check(0x9000, 8), Err(device));
        assert_eq!(window().check(0x8fff, 2), Err(device));
    }
}
