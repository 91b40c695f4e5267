//! QUERY, LOG and MEASURE_STOP.

use super::guest::{DATA, EARLIER, MODULE, NONCE, System, TEXT, record, start_of};
use lucos_abi::object::{Access, View};
use lucos_guest_interface::ErrorCode;
use lucos_guest_interface::call::{ALL_PROCESSORS, Call, NO_ITEM, QueryKind, function_selector};
use lucos_guest_interface::status::{
    ExitClass, ExitCounters, FunctionStatus, JumpStatus, PatchState, PatchStatus, ProcessorList,
    SiteState, SystemStatus, WindowReason,
};
use lucos_memory::fake::REGION;
use lucos_service::FaultVerdict;
use lucos_service::client::Memory;

const BUFFER: u64 = DATA + 0x8ff0;

fn query(system: &mut System, kind: QueryKind, selector: u64, size: usize) -> Vec<u8> {
    let arguments = [kind.number().into(), selector, BUFFER, size as u64];
    let [rax, _] = system.call(Call::Query, arguments).unwrap();
    assert_eq!(rax, size as u64);
    system.guest.peek(BUFFER, size)
}

fn system_status(system: &mut System) -> SystemStatus {
    SystemStatus::read(&query(system, QueryKind::System, 0, SystemStatus::SIZE)).unwrap()
}

fn patch(system: &mut System, position: u64) -> PatchStatus {
    PatchStatus::read(&query(system, QueryKind::Patch, position, PatchStatus::SIZE)).unwrap()
}

fn function(system: &mut System, position: u32, index: u32) -> FunctionStatus {
    let selector = function_selector(position, index);
    let bytes = query(system, QueryKind::Function, selector, FunctionStatus::SIZE);
    FunctionStatus::read(&bytes).unwrap()
}

#[test]
fn the_state_is_shown() {
    let mut system = System::new();
    let functions = [record("plain", 0x100), record("loops_inside", 0x200)];
    system.apply("one", &functions).unwrap();
    system.jump(1, 0).unwrap();
    system.apply("two", &[record("long_first", 0x300)]).unwrap();
    system.apply("three", &[record("long_first", 0x400)]).unwrap();

    let write = Access { write: true, ..Access::default() };
    for _ in 0..17 {
        let verdict = system.guest.nested_fault(REGION, write, View::Main);
        assert_eq!(verdict, Ok(FaultVerdict::Hidden));
    }
    let status = system_status(&mut system);
    assert_eq!((status.extension, status.assists, status.vcpus), (1, 0b101, 2));
    assert_eq!((status.registered, status.patches, status.applied), (1, 3, 3));
    assert_eq!((status.trapping, status.jumping), (2, 1));
    assert_eq!((status.stops, status.longest_stop), (4, 1000));
    assert_eq!(status.boot_identity, [7; 16]);
    assert_eq!(status.hidden_writes, 17);
    assert_eq!((status.containment, status.restarts), (1, 1600));
    assert_eq!((status.messages, status.last_stop), (1500, 1000));
    assert_eq!(status.log_end, system.guest.log.len() as u64);
    assert!(status.release.starts_with(env!("CARGO_PKG_VERSION").as_bytes()));

    let one = patch(&mut system, 0);
    assert_eq!((one.number, one.state), (1, PatchState::Applied.number()));
    assert_eq!((one.functions, one.trapping, one.jumping), (2, 1, 1));
    assert_eq!((one.apply_stop, one.jump_stop, one.rollback_stop), (1000, 1000, 0));
    assert_eq!(&one.name[..4], b"one\0");

    let plain = function(&mut system, 0, 0);
    assert_eq!(plain.state, SiteState::Jump.number());
    assert_eq!((plain.window, plain.reason, plain.below), (5, 0, 0));
    assert_eq!(plain.old_start, start_of("plain"));
    assert_eq!(plain.site, start_of("plain") + 9);
    assert_eq!(plain.new_entry, MODULE + 0x100);
    let inside = function(&mut system, 0, 1);
    assert_eq!(inside.state, SiteState::Trap.number());
    assert_eq!(inside.reason, WindowReason::Branch.number());
    system.invalid_opcode(inside.site, 0);
    system.invalid_opcode(inside.site, 0);
    assert_eq!(function(&mut system, 0, 1).trap_calls, 2);

    let jumps = |system: &mut System, patch| {
        let bytes = query(system, QueryKind::Jumps, patch, JumpStatus::SIZE);
        JumpStatus::read(&bytes).unwrap()
    };
    let jumping = jumps(&mut system, 1);
    assert_eq!((jumping.functions, &jumping.windows[..3]), (2, &[5, 0, 0][..]));

    assert_eq!(function(&mut system, 1, 0).state, SiteState::Covered.number());
    let top = function(&mut system, 2, 0);
    assert_eq!((top.state, top.below), (SiteState::Trap.number(), 2));

    // Somebody overwrites the jump.
    system.guest.poke(plain.site + 4, &[0x77]);
    assert_eq!(function(&mut system, 0, 0).state, SiteState::Overridden.number());

    system.rollback(3).unwrap();
    let three = patch(&mut system, 2);
    assert_eq!(three.state, PatchState::RolledBack.number());
    assert_eq!((three.rollback_stop, three.sequence), (1000, 4));
    assert_eq!(function(&mut system, 2, 0).state, SiteState::Original.number());
    assert_eq!(function(&mut system, 1, 0).state, SiteState::Trap.number());
}

#[test]
fn exits_are_shown_by_class() {
    let mut system = System::new();
    system.apply("one", &[record("plain", 0x100)]).unwrap();
    for _ in 0..3 {
        system.invalid_opcode(start_of("plain") + 9, 0);
    }
    let selector = ALL_PROCESSORS.into();
    let bytes = query(&mut system, QueryKind::ExitCounters, selector, ExitCounters::SIZE);
    let counters = ExitCounters::read(&bytes).unwrap();
    let of = |class: ExitClass| counters.counters[class.number() as usize];
    assert_eq!(of(ExitClass::Cpuid), 100);
    assert_eq!((of(ExitClass::MsrRead), of(ExitClass::MsrWrite)), (200, 300));
    assert_eq!(of(ExitClass::Redirection), EARLIER + 3);
    assert_eq!(system.guest.redirections, EARLIER + 3);
    assert_eq!(of(ExitClass::InvalidOpcode), 600 - EARLIER - 3);
    assert_eq!(of(ExitClass::Nmi), 1000 + 1100);
    let rest = [ExitClass::Debug, ExitClass::Iret, ExitClass::Init, ExitClass::Shutdown];
    assert_eq!(rest.map(of), [700, 800, 1200, 1300]);
    assert_eq!(of(ExitClass::Other), 1400);
    assert_eq!(counters.tsc, system.guest.time);
}

#[test]
fn the_processors_are_named_by_their_apic_ids() {
    let mut system = System::new();
    let bytes = query(&mut system, QueryKind::Processors, 0, ProcessorList::SIZE);
    let list = ProcessorList::read(&bytes).unwrap();
    assert_eq!((list.count, &list.apic_ids[..3]), (2, &[0, 6, 0][..]));
}

#[test]
fn wrong_queries_are_refused() {
    let mut system = System::new();
    let size = SystemStatus::SIZE as u64;
    let mut refused = |arguments, error| {
        assert_eq!(system.call(Call::Query, arguments), Err(error), "{arguments:x?}");
    };
    refused([8, 0, BUFFER, size], (ErrorCode::Argument, NO_ITEM, 8));
    refused([7, 0, BUFFER, size], (ErrorCode::UnknownPatch, NO_ITEM, 0));
    refused([5, 1, BUFFER, 4096], (ErrorCode::Argument, NO_ITEM, 1));
    refused([4, 1, BUFFER, size], (ErrorCode::UnknownPatch, NO_ITEM, 1));
    refused([1 << 32, 0, BUFFER, size], (ErrorCode::Argument, NO_ITEM, 1 << 32));
    refused([0, 1, BUFFER, size], (ErrorCode::Argument, NO_ITEM, 1));
    refused([0, 0, BUFFER, size - 1], (ErrorCode::Length, NO_ITEM, size));
    refused([0, 0, BUFFER, 1 << 20], (ErrorCode::Length, NO_ITEM, 1 << 20));
    refused([1, 0, BUFFER, 4096], (ErrorCode::UnknownPatch, NO_ITEM, 0));
    refused([2, 5 << 32, BUFFER, 4096], (ErrorCode::UnknownPatch, NO_ITEM, 5));
    refused([3, 1, BUFFER, 4096], (ErrorCode::Unsupported, NO_ITEM, 1));
    refused([3, 2, BUFFER, 4096], (ErrorCode::Argument, NO_ITEM, 2));
    // Kernel text is no buffer.
    refused([0, 0, TEXT, size], (ErrorCode::Address, NO_ITEM, TEXT));
    refused([0, 0, 0x1000, size], (ErrorCode::Address, NO_ITEM, 0x1000));
    system.apply("one", &[record("plain", 0x100)]).unwrap();
    let arguments = [2, function_selector(0, 1), BUFFER, 4096];
    let error = Err((ErrorCode::UnknownFunction, 1, 0));
    assert_eq!(system.call(Call::Query, arguments), error);
}

#[test]
fn the_log_is_read_in_pieces() {
    let mut system = System::bare();
    system.guest.log = (0..10_000_u32).map(|index| index as u8).collect();
    system.guest.log_start = 500;
    let read = |system: &mut System, offset, length| {
        let [rax, rbx, rcx, _] = system.raw(Call::Log, [0, offset, DATA, length]);
        (rax, rbx, rcx)
    };
    // The start is gone: the gap shows.
    assert_eq!(read(&mut system, 0, 5000), (5000, 5500, 500));
    assert_eq!(system.guest.peek(DATA, 5000), system.guest.log[..5000]);
    assert_eq!(read(&mut system, 5500, 6000), (5000, 10_500, 5500));
    assert_eq!(system.guest.peek(DATA, 5000), system.guest.log[5000..]);
    assert_eq!(read(&mut system, 10_500, 100), (0, 10_500, 10_500));
    for length in [0, 65_537, u64::MAX] {
        let refused = Err((ErrorCode::Length, NO_ITEM, length));
        assert_eq!(system.call(Call::Log, [0, 0, DATA, length]), refused);
    }
    let refused = Err((ErrorCode::Address, NO_ITEM, TEXT));
    assert_eq!(system.call(Call::Log, [0, 0, TEXT, 10]), refused);
}

#[test]
fn stops_are_measured() {
    let mut system = System::new();
    let [rax, rbx, rcx, rdx] = system.raw(Call::MeasureStop, [NONCE, 10_000, 5, 6]);
    assert_eq!((rax, rbx, rcx, rdx), (0, 10_000, 1000, 5));
    let refused = Err((ErrorCode::Argument, NO_ITEM, 10_001));
    assert_eq!(system.call(Call::MeasureStop, [NONCE, 10_001, 0, 0]), refused);
    assert_eq!(system_status(&mut system).stops, 10_000);
}
