//! A task that commits crimes on request, so that tests see the kernel refuse them.
//!
//! It is the one program of LUCOS outside of kernel and runtime that contains unsafe code: breaking
//! the rules is its purpose, and the kernel must hold without them.

#![cfg_attr(target_os = "none", no_std, no_main)]

use core::arch::asm;
use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering};
use lucos_runtime::{Journal, Scratch, Service, StartInfo, Thread};
use lucos_test_protocol::{Counted, Crime, Instruction, Request};
use spin::Mutex;

lucos_runtime::entry!(run);

static ORDINARY: AtomicU64 = AtomicU64::new(0);
static CONSTANT: u64 = 42;
static LOCK: Mutex<()> = Mutex::new(());

fn run(thread: Thread, start: StartInfo) -> ! {
    thread.serve(Assist { journal: Journal::new(&start), generation: start.generation })
}

struct Assist {
    journal: Journal,
    generation: u32,
}

impl Service for Assist {
    type Request<'a> = Request;
    type Reply<'a> = Counted;

    fn handle(&mut self, _: &mut Thread, _: u64, request: Request, _: &mut Scratch) -> Counted {
        match request {
            Request::Count => {}
            Request::Commit(crime) => commit(crime),
            Request::Work(rounds) => work(rounds),
            Request::LockedWork(rounds) => {
                let _lock = LOCK.lock();
                work(rounds);
            }
        }
        let mut bytes = [0; 8];
        // Without a journal the count stays 1, which the suite notices.
        let _ = self.journal.read(0, &mut bytes);
        let retained = u64::from_le_bytes(bytes) + 1;
        let _ = self.journal.write(0, &retained.to_le_bytes());
        Counted {
            ordinary: ORDINARY.fetch_add(1, Ordering::Relaxed) + 1,
            retained,
            generation: self.generation,
            constant: &raw const CONSTANT as u64,
            code: commit as *const () as u64,
            variable: &raw const ORDINARY as u64,
        }
    }
}

fn work(rounds: u32) {
    (0..rounds).for_each(|round| {
        black_box(round);
    });
}

fn commit(crime: Crime) {
    match crime {
        // SAFETY: none; the kernel must end the task here.
        Crime::Read(address) => unsafe {
            asm!("mov {0}, [{0}]", inout(reg) address => _);
        },
        // SAFETY: none; the kernel must end the task here.
        Crime::Write(address) => unsafe {
            asm!("mov byte ptr [{}], 0", in(reg) address);
        },
        // SAFETY: none; the kernel must end the task here.
        Crime::Execute(address) => unsafe {
            asm!("call {}", in(reg) address, clobber_abi("sysv64"));
        },
        Crime::Instruction(instruction) => execute(instruction),
        Crime::Overflow => {
            black_box(deeper(1));
        }
        Crime::Panic => panic!("as asked"),
        Crime::LockedPanic => {
            let _lock = LOCK.lock();
            panic!("as asked, with the lock held")
        }
    }
}

fn execute(instruction: Instruction) {
    // SAFETY: none; the kernel must end the task at each of these.
    unsafe {
        match instruction {
            Instruction::Halt => asm!("hlt"),
            Instruction::DisableInterrupts => asm!("cli"),
            Instruction::WriteRoot => asm!("mov cr3, rax"),
            Instruction::ReadMsr => asm!("rdmsr", in("ecx") 0x1b, out("eax") _, out("edx") _),
            Instruction::Output => asm!("out 0x80, al"),
            Instruction::RunGuest => asm!("vmrun rax"),
            Instruction::Float => asm!("movaps xmm0, xmm1"),
        }
    }
}

#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    let space = black_box([depth; 64]);
    deeper(depth + 1) + space[0]
}
