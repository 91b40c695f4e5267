//! Code of the guest's kernel: what the analysis of a window says is so.

use lucos_abi::registers::Registers;
use lucos_x86_code::jump::{DISPLACED_MAX, JUMP_LENGTH, jump_bytes};
use lucos_x86_code::length::instruction_length;
use lucos_x86_code::store::decode_store;
use lucos_x86_code::window::{Window, WindowError, analyse};

use crate::input::Input;

/// An offset of the site, a place and a distance, then the code.
pub fn check(data: &[u8]) -> bool {
    lucos_x86_code::prepare();
    let mut input = Input(data);
    let site_offset = usize::from(input.u16());
    let start = input.u64();
    let target = start.wrapping_add_signed(i64::from(input.u32().cast_signed()) * 2);
    let code = input.0;
    let window = analyse(code, start, site_offset);
    match &window {
        Ok(window) => {
            facts(window, code, start, site_offset);
            jump(window, target);
        }
        Err(WindowError::Undecodable { offset } | WindowError::Breakpoint { offset }) => {
            assert!(*offset < code.len());
        }
        Err(WindowError::SiteOutside) => assert!(site_offset >= code.len()),
        Err(WindowError::Length | WindowError::SiteNotABoundary) => {}
    }
    for code_size in [16, 32, 64] {
        if let Ok(length) = instruction_length(code, code_size) {
            assert!((1..=15).contains(&length) && usize::from(length) <= code.len());
        }
    }
    let registers =
        Registers { rip: start, rax: target, rdi: u64::MAX, code_size: 64, ..Registers::default() };
    if let Ok(store) = decode_store(code, &registers) {
        assert!([1, 2, 4, 8].contains(&store.width));
        assert!(store.width == 8 || store.value >> (8 * store.width) == 0);
        assert_eq!(instruction_length(code, 64), Ok(store.length));
    }
    window.is_ok()
}

fn facts(window: &Window, code: &[u8], start: u64, site_offset: usize) {
    let end = start + code.len() as u64;
    let inside = |address: u64| (start..end).contains(&address);
    assert_eq!(window.site, start + site_offset as u64);
    assert_eq!(window.boundaries & !0x1f, 0);
    assert_eq!(window.boundaries & 1, 1, "the site starts an instruction");
    if let Some(displaced) = window.displaced {
        assert!((JUMP_LENGTH..=DISPLACED_MAX as u8).contains(&displaced));
        assert!(site_offset + usize::from(displaced) <= code.len());
        if window.breakpoint.is_none() {
            whole_instructions(&code[site_offset..], displaced);
        }
    }
    if let Some(branch) = window.branch_inside {
        assert!(inside(branch.from) && window.is_inside(branch.to));
    }
    if let Some(branch) = window.branch_to_site {
        assert!(inside(branch.from) && branch.to == window.site);
    }
    let before = |address: u64| (start..window.site).contains(&address);
    assert!(window.not_entry.is_none_or(before));
    assert!(window.breakpoint.is_none_or(inside));
    assert!(window.unknown_jump.is_none_or(inside));
}

/// The displaced bytes are instructions from first to last, and each is needed.
fn whole_instructions(code: &[u8], displaced: u8) {
    let mut length = 0;
    while length < usize::from(displaced) {
        assert!(length < usize::from(JUMP_LENGTH), "more is displaced than the jump needs");
        let next = instruction_length(&code[length..], 64).expect("it was decoded before");
        length += usize::from(next);
    }
    assert_eq!(length, usize::from(displaced));
}

fn jump(window: &Window, target: u64) {
    let Some(displaced) = window.displaced else { return };
    let Ok(bytes) = jump_bytes(window.site, target, displaced) else { return };
    assert_eq!(bytes.len(), usize::from(displaced));
    let distance: [u8; 4] = bytes[1..5].try_into().expect("four bytes");
    let next = window.site.wrapping_add(5);
    let reached = next.wrapping_add_signed(i32::from_le_bytes(distance).into());
    assert_eq!((bytes[0], reached), (0xe9, target));
}

/// Functions as compilers make them.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let start = 0xffff_ffff_8100_0000_u64;
    let seed = |site: u16, code: &[u8]| {
        let distance = 0x2000_0000_u32;
        [&site.to_le_bytes()[..], &start.to_le_bytes(), &distance.to_le_bytes(), code].concat()
    };
    vec![
        // endbr64; nop; push %rbp; mov %rsp,%rbp; mov %gs:0x28,%rax; pop %rbp; ret
        seed(
            9,
            &[
                0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x1f, 0x44, 0, 0, 0x55, 0x48, 0x89, 0xe5, 0x65, 0x48,
                0x8b, 4, 0x25, 0x28, 0, 0, 0, 0x5d, 0xc3, 0xcc,
            ],
        ),
        // A loop to the site: dec %edi; jne; ret
        seed(0, &[0xff, 0xcf, 0x75, 0xfc, 0x90, 0xc3, 0x90, 0x90]),
        // A switch: jmp *table(,%rdi,8), and a call into the window
        seed(
            0,
            &[
                0x83, 0xff, 5, 0xff, 0x24, 0xfd, 0, 0x10, 0, 0x82, 0xe8, 0xf1, 0xff, 0xff, 0xff,
                0xc3,
            ],
        ),
        // mov table(,%rax,8),%rax; jmp *%rax
        seed(0, &[0x48, 0x8b, 4, 0xc5, 0, 0x20, 0, 0x82, 0xff, 0xe0, 0xcc, 0xcc]),
        // movb $1,(%rdi); movl $2,8(%rax); ret
        seed(0, &[0xc6, 7, 1, 0xc7, 0x40, 8, 2, 0, 0, 0, 0xc3]),
    ]
}
