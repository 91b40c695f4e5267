use super::{Branch, Window, WindowError, analyse};
use crate::branch::possible_targets;
use proptest::prelude::*;

const START: u64 = 0xffff_ffff_8123_4560;

/// An ftrace slot, then `rest`.
fn behind_slot(rest: &[u8]) -> Vec<u8> {
    let mut code = vec![0x0f, 0x1f, 0x44, 0, 0];
    code.extend_from_slice(rest);
    code
}

fn window(rest: &[u8]) -> Window {
    analyse(&behind_slot(rest), START, 5).unwrap()
}

#[test]
fn the_window_ends_with_its_last_instruction() {
    // push rbp; mov rbp, rsp; push rbx; ret
    let found = window(&[0x55, 0x48, 0x89, 0xe5, 0x53, 0xc3]);
    assert_eq!(found.site, START + 5);
    assert_eq!(found.displaced, Some(5));
    assert_eq!(found.boundaries, 0b10011);
    assert_eq!((found.branch_inside, found.branch_to_site), (None, None));

    // push rbp; mov rax, imm64; ret
    let found = window(&[0x55, 0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 0xc3]);
    assert_eq!(found.displaced, Some(11));
    assert_eq!(found.boundaries, 0b00011);

    // Four one-byte instructions and the longest instruction: 19 bytes.
    let mut longest = vec![0x55, 0x53, 0x50, 0x51];
    // es lock add qword es:[rax+rax+disp32], imm32, padded with prefixes to 15 bytes
    longest.extend([0x26, 0x26, 0xf0, 0x48, 0x81, 0x84, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0xc3]);
    assert_eq!(window(&longest).displaced, Some(19));
}

#[test]
fn a_function_that_ends_early_takes_no_jump() {
    // xor eax, eax; ret
    let found = window(&[0x31, 0xc0, 0xc3]);
    assert_eq!(found.displaced, None);
    assert_eq!(found.boundaries, 0b101);
    // With filling it does.
    assert_eq!(window(&[0x31, 0xc0, 0xc3, 0xcc, 0xcc]).displaced, Some(5));
    // Zero filling that ends inside an instruction.
    assert_eq!(window(&[0x31, 0xc0, 0xc3, 0, 0, 0]).displaced, Some(5));
}

#[test]
fn sites_that_are_none() {
    let code = behind_slot(&[0xc3]);
    assert_eq!(analyse(&code, START, 6), Err(WindowError::SiteOutside));
    assert_eq!(analyse(&code, START, 1), Err(WindowError::SiteNotABoundary));
    assert_eq!(analyse(&code, START, 4), Err(WindowError::SiteNotABoundary));
    assert_eq!(analyse(&[], START, 0), Err(WindowError::Length));
    assert_eq!(analyse(&code, u64::MAX - 2, 5), Err(WindowError::Length));
    let long = vec![0x90; super::FUNCTION_MAX + 1];
    assert_eq!(analyse(&long, START, 0), Err(WindowError::Length));
    assert!(analyse(&long[1..], START, 0).is_ok());
}

#[test]
fn the_slot_itself_can_be_the_site() {
    // endbr64; slot; jmp to the slot
    let code = [0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x1f, 0x44, 0, 0, 0xeb, 0xf9, 0xc3];
    let found = analyse(&code, START, 4).unwrap();
    assert_eq!(found.displaced, Some(5));
    assert_eq!(found.boundaries, 1);
    assert_eq!(found.branch_to_site, Some(Branch { from: START + 9, to: START + 4 }));
}

#[test]
fn what_is_done_before_the_site_is_reported() {
    // endbr64; its sealed form; slot; a tracer in the slot; nop; push rbx; push rbp
    let code = [
        0xf3, 0x0f, 0x1e, 0xfa, 0x66, 0x0f, 0x1f, 0x00, 0x0f, 0x1f, 0x44, 0, 0, 0xe8, 1, 0, 0, 0,
        0x90, 0x53, 0x55, 0xc3,
    ];
    for site in [0, 4, 8, 13, 18, 19] {
        assert_eq!(analyse(&code, START, site).unwrap().not_entry, None, "{site}");
    }
    for site in [20, 21] {
        let found = analyse(&code, START, site).unwrap();
        assert_eq!(found.not_entry, Some(START + 19), "{site}");
    }
}

#[test]
fn every_kind_of_branch_is_seen() {
    // At the site: push rax; pop rax; nop; nop; nop; then the branch at site + 5.
    let branches: [(&[u8], usize); 9] = [
        (&[0xeb], 2),       // jmp rel8
        (&[0x74], 2),       // jz rel8
        (&[0xe2], 2),       // loop
        (&[0xe3], 2),       // jrcxz
        (&[0x67, 0xe3], 3), // jecxz
        (&[0xe9], 5),       // jmp rel32
        (&[0x0f, 0x8f], 6), // jg rel32
        (&[0xf2, 0xe9], 6), // bnd jmp rel32
        (&[0xc7, 0xf8], 6), // xbegin
    ];
    for (opcode, length) in branches {
        for target in 0..7_i64 {
            let distance = target - 5 - length as i64;
            let mut code = vec![0x50, 0x58, 0x90, 0x90, 0x90];
            code.extend_from_slice(opcode);
            let bytes = distance.to_le_bytes();
            code.extend_from_slice(&bytes[..length - opcode.len()]);
            code.push(0xc3);
            let found = window(&code);
            let branch =
                Some(Branch { from: START + 10, to: (START + 5).wrapping_add_signed(target) });
            let inside = (1..5).contains(&target);
            assert_eq!(found.branch_inside, branch.filter(|_| inside), "{code:02x?}");
            assert_eq!(found.branch_to_site, branch.filter(|_| target == 0), "{code:02x?}");
        }
    }
}

#[test]
fn a_call_of_the_site_is_a_call_of_the_function() {
    // call to the first byte, without a slot: recursion.
    let found = analyse(&[0xe8, 0xfb, 0xff, 0xff, 0xff, 0xc3], START, 0).unwrap();
    assert_eq!((found.branch_inside, found.branch_to_site), (None, None));
    // A call into the window still is one.
    let found = analyse(&[0xe8, 0xfc, 0xff, 0xff, 0xff, 0xc3], START, 0).unwrap();
    assert!(found.branch_inside.is_some());
}

#[test]
fn a_breakpoint_makes_every_byte_a_possible_branch() {
    // nop5; then int3 over the first byte of `mov eax, imm32`, whose last bytes look like
    // `jmp site+2`.
    let code = [0x0f, 0x1f, 0x44, 0, 0, 0xcc, 0x90, 0x90, 0xeb, 0xf8, 0xc3];
    let found = analyse(&code, START, 0).unwrap();
    assert_eq!(found.breakpoint, Some(START + 5));
    assert_eq!(found.displaced, Some(5));
    assert_eq!(found.branch_inside, Some(Branch { from: START + 8, to: START + 2 }));
    // Bytes that do not decode behind it are no error, before it they are.
    assert!(analyse(&[0x90, 0xcc, 0x06, 0x06, 0xc3], START, 0).is_ok());
    assert_eq!(
        analyse(&[0x90, 0x06, 0xcc, 0xc3], START, 0),
        Err(WindowError::Undecodable { offset: 1 })
    );
    assert_eq!(
        analyse(&[0xcc, 0x1f, 0x44, 0, 0, 0x55, 0xc3], START, 5),
        Err(WindowError::Breakpoint { offset: 0 })
    );
}

#[test]
fn filling_is_no_breakpoint() {
    // ret; int3 (straight-line speculation); call of a function that never returns, filling
    let code = [0x90, 0xc3, 0xcc, 0xe8, 0, 1, 0, 0, 0xcc, 0xcc, 0xcc];
    assert_eq!(analyse(&code, START, 0).unwrap().breakpoint, None);
}

#[test]
fn tables_are_reported() {
    // jmp [table + rax*8]
    let direct = window(&[0xff, 0x24, 0xc5, 0x00, 0x10, 0x00, 0x82]);
    assert_eq!(direct.tables[..], [0xffff_ffff_8200_1000]);
    assert_eq!(direct.unknown_jump, None);
    // mov rax, [table + rax*8]; notrack jmp rax
    let loaded = window(&[0x48, 0x8b, 0x04, 0xc5, 0x00, 0x10, 0x00, 0x82, 0x3e, 0xff, 0xe0]);
    assert_eq!(loaded.tables[..], [0xffff_ffff_8200_1000]);
    assert_eq!(loaded.unknown_jump, None);
    // movsxd rax, [rdx + rax*4]; add rax, rdx; jmp rax
    let relative = window(&[0x48, 0x63, 0x04, 0x82, 0x48, 0x01, 0xd0, 0xff, 0xe0]);
    assert_eq!(relative.unknown_jump, Some(START + 5 + 7));
    // mov rax, [rbx + rax*8]; jmp rax
    let computed = window(&[0x48, 0x8b, 0x04, 0xc3, 0xff, 0xe0]);
    assert_eq!(computed.unknown_jump, Some(START + 5 + 4));
    // jmp [rbx + rax*8]
    let memory = window(&[0xff, 0x24, 0xc3]);
    assert_eq!(memory.unknown_jump, Some(START + 5));
    // A tail call through an operations structure: mov rax, [rdi+0x20]; jmp [rax+8]; jmp rax
    let tail = window(&[0x48, 0x8b, 0x47, 0x20, 0xff, 0x60, 8, 0xff, 0xe0]);
    assert_eq!((tail.unknown_jump, tail.tables.len()), (None, 0));
}

/// What [`analyse`] must find, from the lengths alone.
fn boundaries(code: &[u8]) -> Vec<usize> {
    let mut at = 0;
    let mut all = Vec::new();
    while let Ok(length) = crate::length::instruction_length(&code[at.min(code.len())..], 64) {
        all.push(at);
        at += usize::from(length);
    }
    all
}

proptest! {
    #[test]
    fn any_bytes_give_a_window_or_an_error(
        code in prop::collection::vec(any::<u8>(), 0..200),
        start: u64,
        site in 0_usize..32,
    ) {
        let Ok(found) = analyse(&code, start, site) else { return Ok(()); };
        prop_assert_eq!(found.site, start + site as u64);
        if let Some(displaced) = found.displaced {
            prop_assert!((5..=19).contains(&displaced));
            prop_assert!(site + usize::from(displaced) <= code.len());
        }
        let lengths = boundaries(&code);
        prop_assert!(lengths.contains(&site));
        for behind in 0..5 {
            let starts = lengths.contains(&(site + behind));
            prop_assert_eq!(found.boundaries & 1 << behind != 0, starts);
        }
    }

    #[test]
    fn no_branch_is_missed(
        code in prop::collection::vec(prop::sample::select(vec![
            0x90, 0x50, 0x74, 0xeb, 0xe2, 0xe9, 0x0f, 0x85, 0xfa, 0xf9, 0xf8, 0xf7, 0xff, 0x48, 0x89,
        ]), 12..60),
    ) {
        let Ok(found) = analyse(&code, START, 0) else { return Ok(()); };
        // Real branches are among those that start at a boundary.
        let lengths = boundaries(&code);
        for (from, to) in possible_targets(&code, START) {
            if !lengths.contains(&((from - START) as usize)) {
                continue;
            }
            if found.is_inside(to) {
                prop_assert!(found.branch_inside.is_some(), "{:x} {:x}", from, to);
            }
            if to == START {
                prop_assert!(found.branch_to_site.is_some(), "{:x}", from);
            }
        }
        // And whatever was found is a possible one, or has prefixes before it.
        for branch in [found.branch_inside, found.branch_to_site].into_iter().flatten() {
            prop_assert!(lengths.contains(&((branch.from - START) as usize)));
        }
    }
}
