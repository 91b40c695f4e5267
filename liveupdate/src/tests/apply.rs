//! Applying, converting and taking back real code.

use super::guest::{
    BUILD_ID, MODULE, NONCE, System, TABLE, TEXT_END, descriptor, record, registration, start_of,
};
use lucos_guest_interface::ErrorCode;
use lucos_guest_interface::call::{ALL_FUNCTIONS, Call, NO_ITEM};
use lucos_guest_interface::descriptor::{
    DescriptorBuilder, FLAG_CHECK_ONLY, FUNCTION_FENTRY_SLOT, FUNCTION_NO_JUMP,
    FUNCTION_SITE_IS_SLOT, FunctionRecord,
};
use lucos_guest_interface::status::WindowReason;
use lucos_service::LiveupdateReply;
use lucos_x86_code::jump::{TRAP, jump_bytes};

#[test]
fn a_function_is_replaced_and_restored() {
    let mut system = System::new();
    let original = system.guest.text();
    let site = start_of("plain") + 9;
    assert_eq!(system.apply("fix", &[record("plain", 0x100)]), Ok([0, 1]));
    assert_eq!(system.guest.peek(site, 2), [TRAP, 0x48]);
    assert!(system.guest.intercept);

    assert_eq!(system.jump(1, 0), Ok([0, 1]));
    let jump = jump_bytes(site, MODULE + 0x100, 5).unwrap();
    assert_eq!(system.guest.peek(site, 5), jump[..]);
    assert!(!system.guest.intercept);

    assert_eq!(system.rollback(1).map(|[rax, _]| rax), Ok(0));
    assert_eq!(system.guest.text(), original);
    assert!(!system.guest.intercept);
}

#[test]
fn a_jump_goes_behind_an_endbr_and_a_trap_to_the_entry() {
    let site = start_of("plain") + 9;
    for endbr in [[0xf3, 0x0f, 0x1e, 0xfa], [0x66, 0x0f, 0x1f, 0x00]] {
        let mut system = System::new();
        let entry = MODULE + 0x100;
        system.guest.poke(entry, &endbr);
        system.apply("fix", &[record("plain", 0x100)]).unwrap();
        let redirected = LiveupdateReply::Redirect { rip: entry };
        assert_eq!(system.invalid_opcode(site, 0), redirected);
        system.jump(1, 0).unwrap();
        assert_eq!(system.guest.peek(site, 5), jump_bytes(site, entry + 4, 5).unwrap()[..]);
    }
}

#[test]
fn several_functions_are_one_transaction() {
    let mut system = System::new();
    let original = system.guest.text();
    let good = [record("plain", 0x100), record("long_first", 0x200)];
    let bad = [good[0], good[1], record("broken", 0x300)];
    let at = start_of("broken") + 6;
    assert_eq!(system.apply("fix", &bad), Err((ErrorCode::Decode, 2, at)));
    assert_eq!(system.guest.text(), original);
    assert_eq!(system.apply("fix", &good), Ok([0, 1]));
    assert_eq!(system.jump(1, ALL_FUNCTIONS), Ok([0, 2]));
    // The ten-byte instruction is displaced whole.
    let site = start_of("long_first") + 5;
    let jump = jump_bytes(site, MODULE + 0x200, 10).unwrap();
    assert_eq!(system.guest.peek(site, 10), jump[..]);
    system.rollback(1).unwrap();
    assert_eq!(system.guest.text(), original);
}

#[test]
fn a_function_without_a_slot_is_redirected_at_its_entry() {
    let mut system = System::new();
    assert_eq!(system.apply("fix", &[record("no_slot", 0x100)]), Ok([0, 1]));
    assert_eq!(system.guest.peek(start_of("no_slot"), 1), [TRAP]);
    assert_eq!(system.jump(1, 0), Ok([0, 1]));
}

#[test]
fn a_branch_to_the_first_instruction_needs_the_slot() {
    let mut system = System::new();
    let from = start_of("loops_to_first") + 7;
    let behind_slot = record("loops_to_first", 0x100);
    assert_eq!(system.apply("fix", &[behind_slot]), Err((ErrorCode::BranchToSite, 0, from)));
    let slot = FunctionRecord {
        site_offset: 0,
        flags: FUNCTION_FENTRY_SLOT | FUNCTION_SITE_IS_SLOT,
        ..behind_slot
    };
    assert_eq!(system.apply("fix", &[slot]), Ok([0, 1]));
    assert_eq!(system.jump(1, 0), Ok([0, 1]));
    system.rollback(1).unwrap();
    // A tracer is attached.
    system.guest.poke(start_of("loops_to_first"), &[0xe8, 1, 2, 3, 4]);
    assert_eq!(
        system.apply("fix", &[slot]),
        Err((ErrorCode::SiteForeign, 0, start_of("loops_to_first")))
    );
}

#[test]
fn windows_that_take_no_jump_keep_the_trap() {
    let mut system = System::new();
    let flagged = FunctionRecord {
        flags: FUNCTION_FENTRY_SLOT | FUNCTION_NO_JUMP,
        reason: WindowReason::StaticCall.number(),
        ..record("plain", 0x300)
    };
    let functions = [
        record("loops_inside", 0x100),
        FunctionRecord { old_size: 6, ..record("tiny", 0x200) },
        flagged,
    ];
    assert_eq!(system.apply("fix", &functions), Ok([0, 1]));
    let reasons = [WindowReason::Branch, WindowReason::TooShort, WindowReason::StaticCall];
    for (index, reason) in reasons.into_iter().enumerate() {
        let refused = Err((ErrorCode::NoJump, index as u32, reason.number().into()));
        assert_eq!(system.jump(1, index as u32), refused);
    }
    assert_eq!(system.jump(1, ALL_FUNCTIONS), Ok([0, 0]));
    assert!(system.guest.intercept);
}

#[test]
fn jump_tables_are_looked_at() {
    let function = record("jumps_by_table", 0x100);
    let start = start_of("jumps_by_table");
    let with_entry = |target: u64| {
        let mut system = System::new();
        system.guest.poke(TABLE + 8 * 300, &target.to_le_bytes());
        system
    };
    let mut harmless = with_entry(start + 10);
    assert_eq!(harmless.apply("fix", &[function]), Ok([0, 1]));
    assert_eq!(harmless.jump(1, 0), Ok([0, 1]));

    let mut inside = with_entry(start + 7);
    assert_eq!(inside.apply("fix", &[function]), Ok([0, 1]));
    let branch = WindowReason::Branch.number().into();
    assert_eq!(inside.jump(1, 0), Err((ErrorCode::NoJump, 0, branch)));

    let mut first = with_entry(start + 5);
    let refused = Err((ErrorCode::BranchToSite, 0, TABLE));
    assert_eq!(first.apply("fix", &[function]), refused);
}

#[test]
fn a_table_without_code_is_read_once_for_all_functions() {
    let functions = [record("jumps_by_table", 0x100), record("jumps_by_it_too", 0x200)];
    let mut data = System::new();
    assert_eq!(data.apply("fix", &functions), Ok([0, 1]));
    assert_eq!(data.jump(1, ALL_FUNCTIONS), Ok([0, 2]));
    assert_eq!(data.guest.table_reads, 1);

    let mut code = System::new();
    let inside = start_of("jumps_by_it_too") + 7;
    code.guest.poke(TABLE, &inside.to_le_bytes());
    assert_eq!(code.apply("fix", &functions), Ok([0, 1]));
    let branch = WindowReason::Branch.number().into();
    assert_eq!(code.jump(1, 1), Err((ErrorCode::NoJump, 1, branch)));
    assert_eq!(code.jump(1, 0), Ok([0, 1]));
    assert_eq!(code.guest.table_reads, 2);
}

#[test]
fn kprobes_are_respected() {
    let mut system = System::new();
    let start = start_of("plain");
    // At the site.
    system.guest.poke(start + 9, &[0xcc]);
    let refused = Err((ErrorCode::SiteForeign, 0, start + 9));
    assert_eq!(system.apply("fix", &[record("plain", 0x100)]), refused);
    // In the window.
    system.guest.poke(start + 9, &[0x55, 0xcc]);
    assert_eq!(system.apply("fix", &[record("plain", 0x100)]), Ok([0, 1]));
    let kprobe = WindowReason::Kprobe.number().into();
    assert_eq!(system.jump(1, 0), Err((ErrorCode::NoJump, 0, kprobe)));
    // It goes while the trap stands, and stays gone.
    system.guest.poke(start + 10, &[0x48]);
    system.rollback(1).unwrap();
    assert_eq!(system.guest.peek(start + 9, 4), [0x55, 0x48, 0x89, 0xe5]);
}

#[test]
fn patches_stack() {
    let mut system = System::new();
    let original = system.guest.text();
    for (number, jump) in [(1, false), (2, true), (3, true)] {
        let entry = 0x100 * number;
        let name = format!("fix{number}");
        assert_eq!(system.apply(&name, &[record("plain", entry)]), Ok([0, number]));
        if jump {
            assert_eq!(system.jump(number, 0), Ok([0, 1]));
        }
    }
    assert_eq!(system.rollback(1), Err((ErrorCode::Stacked, 0, 2)));
    for number in [3, 2, 1] {
        system.rollback(number).unwrap();
    }
    assert_eq!(system.guest.text(), original);
}

#[test]
fn somebody_elses_bytes_over_ours_are_noticed() {
    let mut system = System::new();
    system.apply("fix", &[record("plain", 0x100)]).unwrap();
    let site = start_of("plain") + 9;
    system.guest.poke(site, &[0xe9]);
    let foreign = Err((ErrorCode::SiteForeign, 0, site));
    assert_eq!(system.apply("more", &[record("plain", 0x200)]), foreign);
    let changed = Err((ErrorCode::SiteChanged, 0, site));
    assert_eq!(system.rollback(1), changed);
    assert_eq!(system.jump(1, 0), changed);
    assert_eq!(system.guest.peek(site, 1), [0xe9]);
}

#[test]
fn expected_bytes_are_compared() {
    let mut system = System::new();
    let mut function = FunctionRecord { expected_length: 4, ..record("plain", 0x100) };
    function.expected[..4].copy_from_slice(&[0x55, 0x48, 0x89, 0xe0]);
    function.expected_mask[..4].copy_from_slice(&[0xff, 0xff, 0xff, 0xf0]);
    assert_eq!(system.apply("fix", &[function]), Ok([0, 1]));
    // On top: the kernel's own bytes are meant, or what stands there now.
    assert_eq!(system.apply("again", &[function]), Ok([0, 2]));
    function.expected[0] = TRAP;
    assert_eq!(system.apply("live", &[function]), Ok([0, 3]));
    function.expected[2] = 0x88;
    let at = start_of("plain") + 9;
    let refused = Err((ErrorCode::ExpectedBytes, 0, at));
    assert_eq!(system.apply("wrong", &[function]), refused);
}

#[test]
fn places_are_checked() {
    let mut system = System::new();
    let function = record("plain", 0x100);
    let cases = [
        (
            FunctionRecord { old_start: TEXT_END - 32, ..function },
            ErrorCode::OldNotText,
            TEXT_END - 32,
        ),
        (
            FunctionRecord { new_entry: TEXT_END - 64, ..function },
            ErrorCode::NewNotText,
            TEXT_END - 64,
        ),
        (FunctionRecord { new_size: 0x1000, ..function }, ErrorCode::NewNotText, MODULE + 0x100),
        (
            FunctionRecord { site_offset: 10, ..function },
            ErrorCode::NotAtEntry,
            start_of("plain") + 9,
        ),
        (
            FunctionRecord { site_offset: 11, ..function },
            ErrorCode::SiteBoundary,
            start_of("plain") + 11,
        ),
    ];
    for (function, code, detail) in cases {
        let answer = system.apply("fix", &[function]);
        assert_eq!(answer, Err((code, 0, detail)));
    }
    // An unmapped part of the module area.
    system.guest.unmap(MODULE);
    let answer = system.apply("fix", &[function]);
    assert_eq!(answer, Err((ErrorCode::Address, 0, MODULE + 0x100)));
    // No instruction at the entry.
    let mut system = System::new();
    system.guest.poke(MODULE + 0x100, &[0x06]);
    let answer = system.apply("fix", &[function]);
    assert_eq!(answer, Err((ErrorCode::Decode, 0, MODULE + 0x100)));
}

#[test]
fn build_ids_are_compared() {
    let mut system = System::new();
    let build = |builder: DescriptorBuilder| builder.function(record("plain", 0x100)).build();
    let builder = || DescriptorBuilder::new("fix").unwrap();
    let other = build(builder().build_id(&[1, 2, 3]).unwrap());
    assert_eq!(system.apply_bytes(&other), Err((ErrorCode::BuildId, NO_ITEM, 0)));
    let same = build(builder().build_id(&BUILD_ID).unwrap());
    assert_eq!(system.apply_bytes(&same), Ok([0, 1]));
}

#[test]
fn a_check_changes_nothing() {
    let mut system = System::new();
    let original = system.guest.text();
    let check = |name: &str, function| {
        let builder = DescriptorBuilder::new(name).unwrap();
        builder.flags(FLAG_CHECK_ONLY).function(function).build()
    };
    let good = check("fix", record("plain", 0x100));
    assert_eq!(system.apply_bytes(&good), Ok([0, 0]));
    assert_eq!(system.guest.text(), original);
    let bad = check("fix", record("loops_to_first", 0x100));
    assert!(system.apply_bytes(&bad).is_err());
    system.apply("fix", &[record("plain", 0x100)]).unwrap();
    let twice = Err((ErrorCode::AlreadyApplied, NO_ITEM, 1));
    assert_eq!(system.apply_bytes(&good), twice);
}

#[test]
fn a_processor_in_the_window_postpones_the_jump() {
    let mut system = System::new();
    system.apply("fix", &[record("plain", 0x100)]).unwrap();
    let inside = start_of("plain") + 10;
    system.guest.pointers.insert(1, inside);
    let occupied = Err((ErrorCode::WindowOccupied, 0, inside));
    assert_eq!(system.jump(1, 0), occupied);
    system.guest.pointers.insert(1, start_of("plain") + 9);
    assert_eq!(system.jump(1, 0), Ok([0, 1]));
}

#[test]
fn a_late_processor_undoes_everything() {
    let mut system = System::new();
    let original = system.guest.text();
    system.guest.stop_error = Some(lucos_transaction::SubjectError::Late);
    let answer = system.apply("fix", &[record("plain", 0x100)]);
    assert_eq!(answer, Err((ErrorCode::Deadline, NO_ITEM, 0)));
    assert_eq!(system.guest.text(), original);
    system.guest.stop_error = None;
    assert_eq!(system.apply("fix", &[record("plain", 0x100)]), Ok([0, 2]));
}

#[test]
fn only_the_registered_manager_may_ask() {
    let mut system = System::bare();
    let bytes = descriptor("fix", &[record("plain", 0x100)]);
    let calls = [Call::Apply, Call::Jump, Call::Rollback, Call::MeasureStop, Call::Unregister];
    for call in calls {
        let refused = Err((ErrorCode::NotRegistered, NO_ITEM, 0));
        assert_eq!(system.call(call, [NONCE, 1, 1, 0]), refused);
    }
    system.register(&registration(), NONCE).unwrap();
    for call in calls {
        let refused = Err((ErrorCode::Nonce, NO_ITEM, 0));
        assert_eq!(system.call(call, [NONCE + 1, 1, 1, 0]), refused);
    }
    assert!(system.guest.forward);
    system.apply_bytes(&bytes).unwrap();
    system.call(Call::Unregister, [NONCE, 0, 0, 0]).unwrap();
    assert!(!system.guest.forward);
    let refused = Err((ErrorCode::NotRegistered, NO_ITEM, 0));
    assert_eq!(system.rollback(1), refused);
    // Another manager of the same kernel finds the update.
    assert_eq!(system.register(&registration(), 99), Ok([0, 1]));
    assert_eq!(system.call(Call::Rollback, [99, 1, 0, 0]).map(|[rax, _]| rax), Ok(0));
}

#[test]
fn registrations_are_checked() {
    let mut system = System::bare();
    let record = registration();
    let refused = Err((ErrorCode::Argument, NO_ITEM, 0));
    assert_eq!(system.register(&record, 0), refused);
    let address = system.place(&record.to_bytes());
    for length in [0, 111, 4097, u64::MAX] {
        let refused = Err((ErrorCode::Length, NO_ITEM, length));
        assert_eq!(system.call(Call::Register, [1, address, length, 0]), refused);
    }
    let refused = Err((ErrorCode::Registration, NO_ITEM, 4));
    assert_eq!(system.call(Call::Register, [1, address, 120, 0]), refused);
    let refused = Err((ErrorCode::Address, NO_ITEM, 0x5000));
    assert_eq!(system.call(Call::Register, [1, 0x5000, 112, 0]), refused);
    assert!(!system.guest.forward);
}
