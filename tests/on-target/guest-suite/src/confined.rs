//! Guarded pages and detours, as the tasks of LUCOS do them by confined runs.

use crate::answer::Next;
use crate::{guest as load, report};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use lucos_abi::object::{ExitReason, VcpuReply, VcpuRequest, View};
use lucos_abi::registers::{Registers, SIZE};
use lucos_runtime::{CallError, GuestWindow, Object, Thread, system_info};
use lucos_test_protocol::guest::{self, Ended};

const PAGE: u64 = 4096;

/// The guarded pages: from the first address to before the second.
static GUARDED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
/// The word that holds what is written to the first guarded one.
static TWIN: AtomicU64 = AtomicU64::new(0);
/// Steps and opened pages.
static COUNTS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
/// Held from a step to the end of its carry.
static COHERENCE: AtomicBool = AtomicBool::new(false);

/// Pages that one step may need.
const PAGES: usize = 4;
/// Times that a step may be interrupted.
const PATIENCE: u32 = 1000;

/// Guards `pages` pages from `start` on, and no others.
pub fn guard(thread: &mut Thread, start: u64, pages: u64, twin: u64) {
    let [first, beyond] = &GUARDED;
    let old = (first.load(Ordering::SeqCst), beyond.load(Ordering::SeqCst));
    TWIN.store(twin, Ordering::SeqCst);
    first.store(start, Ordering::SeqCst);
    beyond.store(start + pages * PAGE, Ordering::SeqCst);
    for (start, end, write) in [(old.0, old.1, true), (start, start + pages * PAGE, false)] {
        let done = load::set(thread, View::Main, start, end - start, write);
        report::check(thread, "guards_are_set", done, Ok(()));
    }
}

/// Whether an address lies on a guarded page.
pub fn is_guarded(gpa: u64) -> bool {
    let [first, beyond] = &GUARDED;
    first.load(Ordering::SeqCst) <= gpa && gpa < beyond.load(Ordering::SeqCst)
}

/// How many steps were done and pages opened since the last call.
pub fn take_counts() -> (u64, u64) {
    let [steps, pages] = &COUNTS;
    (steps.swap(0, Ordering::SeqCst), pages.swap(0, Ordering::SeqCst))
}

/// Lets the instruction that was to write to a guarded page do so.
pub fn write(thread: &mut Thread, gpa: u64) -> Next {
    while COHERENCE.swap(true, Ordering::SeqCst) {
        core::hint::spin_loop();
    }
    let next = if is_guarded(gpa) { step(thread, gpa) } else { Next::default() };
    COHERENCE.store(false, Ordering::SeqCst);
    next
}

fn step(thread: &mut Thread, gpa: u64) -> Next {
    let mut opened = [None; PAGES];
    let mut wanted = Some(gpa & !(PAGE - 1));
    let mut pages = opened.iter_mut();
    let mut next = Next::default();
    for _ in 0..PATIENCE {
        if let (Some(page), Some(place)) = (wanted.take(), pages.next()) {
            open(thread, page, true);
            *place = Some(page);
        }
        match confined(thread, &[], 1).0 {
            ExitReason::Interrupted => {}
            // Page tables stay open.
            ExitReason::NestedFault { gpa, access } if access.table_walk => {
                open(thread, gpa & !(PAGE - 1), true);
            }
            // All of the guest's memory is read-only there.
            ExitReason::NestedFault { gpa, access } if access.write => {
                wanted = Some(gpa & !(PAGE - 1));
            }
            ExitReason::Exception(event) => {
                next.event = Some(event);
                break;
            }
            other => {
                report::check_quietly(
                    thread,
                    "guarded_write_is_stepped",
                    other,
                    ExitReason::Stepped,
                );
                let [steps, _] = &COUNTS;
                steps.fetch_add(1, Ordering::SeqCst);
                break;
            }
        }
    }
    for page in opened.into_iter().flatten() {
        open(thread, page, false);
    }
    carry(thread);
    next
}

fn open(thread: &mut Thread, page: u64, on: bool) {
    let [_, pages] = &COUNTS;
    pages.fetch_add(on.into(), Ordering::SeqCst);
    let done = load::set(thread, View::Confined, page, PAGE, on);
    report::check_quietly(thread, "page_opens_and_closes", done, Ok(()));
}

/// Writes the first guarded word to its twin.
fn carry(thread: &mut Thread) {
    let twin = TWIN.load(Ordering::SeqCst);
    if twin != 0 {
        let mut word = [0; 8];
        let [first, _] = &GUARDED;
        let read = GuestWindow::new(system_info()).read(first.load(Ordering::SeqCst), &mut word);
        report::check_quietly(thread, "guarded_word_is_read", read.is_ok(), true);
        let written = load::write(thread, twin, &word);
        report::check_quietly(thread, "twin_is_written", written, Ok(()));
    }
}

fn confined(thread: &mut Thread, registers: &[u8], steps: u32) -> (ExitReason, Registers) {
    let mut block = [0; SIZE];
    match thread.call(Object::Vcpu, &VcpuRequest::Confined { registers, steps }) {
        Ok(VcpuReply::Exit { reason, registers, .. }) => {
            block.copy_from_slice(registers);
            (reason, Registers::from_bytes(&block).unwrap_or_default())
        }
        other => {
            let why: Option<CallError> = other.err();
            report::check(thread, "confined_run", why, None);
            (ExitReason::InvalidState, Registers::default())
        }
    }
}

/// Where a detour begins that the guest asks for.
fn entry(asked: &Registers) -> [u8; SIZE] {
    let [rip, rsp] = [asked.rbx, asked.rcx];
    let general = Registers { rdi: 0x77, ..Registers::default() };
    Registers { rip, rsp, rflags: 2, ..general }.to_bytes()
}

/// A detour; how it ended, as the guest is told.
pub fn detour(thread: &mut Thread, asked: &Registers) -> (u64, u64) {
    open(thread, asked.rcx - PAGE, true);
    let (reason, at) = confined(thread, &entry(asked), asked.rdx as u32);
    let returned = thread.call::<_, VcpuReply<'_>>(Object::Vcpu, &VcpuRequest::Return).is_ok();
    report::check(thread, "detour_returns", returned, true);
    open(thread, asked.rcx - PAGE, false);
    let (ended, detail) = match reason {
        ExitReason::Hypercall if at.rax == guest::BACK => (Ended::Back, at.rbx),
        ExitReason::Stepped => (Ended::Stepped, at.rip),
        ExitReason::Exception(event) if event.vector == 14 => (Ended::Exception, at.cr2),
        ExitReason::Exception(event) => (Ended::Exception, event.vector.into()),
        ExitReason::NestedFault { gpa, .. } => (Ended::NestedFault, gpa),
        ExitReason::Interrupted => (Ended::Interrupted, at.rip),
        _ => (Ended::Otherwise, 0),
    };
    (ended as u64, detail)
}

/// Begins a detour that changes registers, and ends this task in the middle of it.
pub fn abandon(thread: &mut Thread, asked: &Registers) {
    open(thread, asked.rcx - PAGE, true);
    let (reason, _) = confined(thread, &entry(asked), 4);
    report::check(thread, "abandoned_detour", reason, ExitReason::Stepped);
    panic!("a detour is abandoned");
}
