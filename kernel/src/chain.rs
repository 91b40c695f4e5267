//! The chain of calls that a processor runs.
//!
//! Each processor has one thread of every task. The first task's thread runs the vCPU; it may call
//! another task, which may call a further one, and so on: the chain. Only its last thread runs. A
//! call or a reply copies one message and goes on in the other task at once: there is no scheduler
//! and no queue.

use crate::arch::descriptors::Descriptors;
use crate::arch::processor::PerProcessor;
use crate::arch::trap::{self, Context, Trap};
use crate::end::die;
use crate::fatal::Fatal;
use crate::memory::direct::SharedPages;
use crate::object::{self, Buffer};
use crate::task::{self, Inside, Task};
use crate::vcpu::Vcpu;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::mem::take;
use core::sync::atomic::Ordering;
use lucos_abi::boot::StartInfo;
use lucos_abi::call::{self, CallStatus};
use lucos_abi::layout;
use lucos_abi::manifest::{MAX_TASKS, Object, Rights};
use lucos_abi::message::{self, MESSAGE_SIZE};
use lucos_abi::object::Counter;
use lucos_paging::Rights as PageRights;

/// Restarts of the first task without one entry to the guest between, after which LUCOS gives up.
const ROOT_RESTARTS: u32 = 8;

/// Most bytes of what a task that gives up may say.
const LAST_WORDS: u64 = 256;

/// A task's thread on this processor.
struct Thread {
    task: &'static Task,
    context: Box<Context>,
    message: SharedPages,
    stack_top: u64,
    state: State,
    /// Generation of the task in which the thread was started.
    generation: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not started, or ended.
    Fresh,
    /// In the chain, but it has not asked for the request (of this length) that waits for it.
    Starting(usize),
    /// In the chain.
    Running,
    /// Waits for a request.
    Waiting,
}

/// The threads of a processor: one of each task, by its number.
struct Threads(Vec<Thread>);

impl Threads {
    /// The thread of a task. Numbers come from the system table, in which a capability to a task
    /// that there is not is refused, so anything else is LUCOS's own fault.
    fn of(&mut self, number: usize) -> &mut Thread {
        match self.0.get_mut(number) {
            Some(thread) => thread,
            None => die(Fatal::NoSuchTask),
        }
    }

    /// Copies so many bytes from one thread's message page to another's; `None` when that is more
    /// than a page.
    fn pass_message(&mut self, from: usize, to: usize, length: usize) -> Option<()> {
        match self.0.get_disjoint_mut([from, to]) {
            Ok([from, to]) => to.message.copy_from(&from.message, length),
            Err(_) => die(Fatal::NoSuchTask),
        }
    }
}

/// Everything of a processor that only it touches.
pub struct Processor {
    shared: &'static PerProcessor,
    descriptors: &'static mut Descriptors,
    threads: Threads,
    chain: heapless::Vec<usize, MAX_TASKS>,
    vcpu: Vcpu,
    request: Box<Buffer>,
    reply: Box<Buffer>,
    root_restarts: u32,
    failed: Failed,
}

/// An instruction of the guest at whose exit the first task's thread has failed.
#[derive(Default)]
struct Failed {
    rip: u64,
    /// How often in a row.
    count: u32,
}

impl Processor {
    /// Makes the processor's threads and its vCPU.
    ///
    /// # Errors
    /// The region is full, or the processor lacks what a vCPU needs.
    pub fn new(
        shared: &'static PerProcessor,
        descriptors: &'static mut Descriptors,
    ) -> Result<Self, Fatal> {
        let threads = task::all().iter().map(|task| Thread::new(task, shared.number));
        let threads = Threads(threads.collect::<Result<_, _>>()?);
        let vcpu = Vcpu::new(shared, descriptors)?;
        Ok(Self {
            shared,
            descriptors,
            threads,
            chain: heapless::Vec::new(),
            vcpu,
            request: Box::new([0; MESSAGE_SIZE]),
            reply: Box::new([0; MESSAGE_SIZE]),
            root_restarts: 0,
            failed: Failed::default(),
        })
    }

    /// Runs for ever.
    pub fn run(mut self) -> ! {
        self.shared.alive.store(true, Ordering::SeqCst);
        loop {
            self.step();
        }
    }

    /// Runs the last thread of the chain until it traps, and does what it asks for.
    fn step(&mut self) {
        self.vcpu.take_nmis();
        let Some(&last) = self.chain.last() else {
            self.begin(0, 0);
            return;
        };
        let thread = self.threads.of(last);
        let task = thread.task;
        let Some(inside) = task.go_inside(thread.generation) else {
            self.unwind();
            return;
        };
        let nmis = &self.shared.nmis;
        match trap::enter(&mut thread.context, &task.space, self.descriptors, nmis) {
            // Whether it may go on is decided at the next step.
            Trap::Nmi => {}
            Trap::Call => self.system_call(last, inside),
            Trap::Exception { vector, error, address } => {
                let rip = thread.context.rip;
                drop(inside);
                self.fault(
                    last,
                    format_args!(
                        "exception {vector:#x} at {rip:#x}, error {error:#x}, address {address:#x}"
                    ),
                );
            }
        }
    }

    /// Does what a thread asks for. It stays inside of its task meanwhile, so that nothing is done
    /// for it any more once a restart goes on; but for what takes its time: running the vCPU, and
    /// calls to other tasks.
    fn system_call(&mut self, caller: usize, inside: Inside<'static>) {
        if !inside.is_current() {
            return;
        }
        self.shared.counts.add(Counter::Messages);
        let thread = self.threads.of(caller);
        let (number, first, second) = (thread.context.rax, thread.context.rdi, thread.context.rsi);
        match number {
            call::CALL => self.call(caller, inside, first, second),
            call::REPLY_AND_WAIT => {
                drop(inside);
                self.reply_and_wait(caller, second);
            }
            call::FAULT => {
                self.log_last_words(caller, second);
                drop(inside);
                self.fault(caller, format_args!("it gave up"));
            }
            _ => thread.answer(CallStatus::NoSuchCall, 0),
        }
    }

    fn call(&mut self, caller: usize, inside: Inside<'static>, slot: u64, length: u64) {
        let result = self.dispatch(caller, inside, slot, length);
        let thread = self.threads.of(caller);
        match result {
            Ok(Some(length)) => {
                let reply = self.reply.get(..length).unwrap_or(&[]);
                let _ = thread.message.write(reply);
                thread.answer(CallStatus::Done, length);
            }
            Ok(None) => {}
            Err(status) => thread.answer(status, 0),
        }
    }

    /// Does a call. `Ok(None)` when another task works on it now.
    fn dispatch(
        &mut self,
        caller: usize,
        inside: Inside<'static>,
        slot: u64,
        length: u64,
    ) -> Result<Option<usize>, CallStatus> {
        let length = usize::try_from(length).map_err(|_| CallStatus::TooLong)?;
        let thread = self.threads.of(caller);
        let (object, rights) = thread.task.capabilities.get(slot)?;
        if let Object::Task(callee) = object {
            if !rights.contains(Rights::CALL) {
                return Err(CallStatus::MissingRight);
            }
            return self.call_task(caller, callee.into(), length).map(|()| None);
        }
        let bytes = self.request.get_mut(..length).ok_or(CallStatus::TooLong)?;
        thread.message.read(bytes).ok_or(CallStatus::TooLong)?;
        let (me, reply) = (self.shared.number, &mut *self.reply);
        match object {
            Object::Log => object::log::serve(&thread.task.name, rights, bytes, reply),
            Object::Vcpu => {
                drop(inside);
                let served = object::vcpu::serve(&mut self.vcpu, me, rights, bytes, reply);
                if take(&mut self.vcpu.entered) {
                    self.root_restarts = 0;
                }
                served
            }
            Object::Machine => object::machine::serve(me, rights, bytes, reply),
            Object::GuestSpace => object::guest_space::serve(me, rights, bytes, reply),
            Object::GuestMemory => object::guest_memory::serve(rights, bytes, reply),
            Object::Journal | Object::Task(_) => Err(CallStatus::BadMessage),
        }
        .map(Some)
    }

    fn call_task(&mut self, caller: usize, callee: usize, length: usize) -> Result<(), CallStatus> {
        if length > MESSAGE_SIZE {
            return Err(CallStatus::TooLong);
        }
        if self.chain.contains(&callee) {
            return Err(CallStatus::Cycle);
        }
        self.begin(callee, length);
        if self.threads.of(callee).state == State::Running {
            self.deliver(caller, callee, length);
        }
        Ok(())
    }

    /// Puts a task's thread at the end of the chain. A fresh thread first runs its start code; the
    /// request waits until it asks for one.
    fn begin(&mut self, index: usize, length: usize) {
        let thread = self.threads.of(index);
        let current = thread.task.generation.load(Ordering::SeqCst);
        if thread.state == State::Waiting && thread.generation == current {
            thread.state = State::Running;
        } else {
            let failures =
                if index == 0 && !self.vcpu.exit_was_handled { self.failed.count } else { 0 };
            thread.start(self.shared.number, current, failures);
            thread.state = State::Starting(length);
        }
        // The chain has room for every task, and no task is in it twice.
        let _ = self.chain.push(index);
    }

    /// Copies the request of `caller` to `callee`.
    fn deliver(&mut self, caller: usize, callee: usize, length: usize) {
        // Its length was checked when the call began.
        let _ = self.threads.pass_message(caller, callee, length);
        let thread = self.threads.of(callee);
        thread.context.rax = caller as u64;
        thread.context.rdx = length as u64;
        thread.state = State::Running;
    }

    fn reply_and_wait(&mut self, callee: usize, length: u64) {
        let caller = self.chain.iter().rev().nth(1).copied();
        let (Some(caller), Ok(length)) = (caller, usize::try_from(length)) else {
            self.fault(callee, format_args!("a reply to nobody, or too long"));
            return;
        };
        if let State::Starting(length) = self.threads.of(callee).state {
            self.deliver(caller, callee, length);
            return;
        }
        if self.threads.pass_message(callee, caller, length).is_none() {
            self.fault(callee, format_args!("a reply to nobody, or too long"));
            return;
        }
        self.threads.of(callee).state = State::Waiting;
        self.chain.pop();
        self.threads.of(caller).answer(CallStatus::Done, length);
    }

    /// Ends a task that did something it must not, and restarts it.
    fn fault(&mut self, index: usize, why: fmt::Arguments<'_>) {
        let thread = self.threads.of(index);
        let task = thread.task;
        // A thread that another processor's restart ended faults too; that is not its fault.
        if task.restart(self.shared.number, thread.generation) {
            log::error!("task {} is restarted: {why}", task.name);
            self.shared.counts.add(Counter::Restarts);
            if index == 0 {
                let rip = self.vcpu.registers().rip;
                let handled = take(&mut self.vcpu.exit_was_handled);
                let again = self.failed.rip == rip && !handled;
                let count = if again { self.failed.count.saturating_add(1) } else { 1 };
                self.failed = Failed { rip, count };
            }
        }
        self.unwind();
    }

    /// Takes the last thread out of the chain; whoever called it learns that it was restarted.
    fn unwind(&mut self) {
        if let Some(gone) = self.chain.pop() {
            self.threads.of(gone).state = State::Fresh;
        }
        if let Some(&caller) = self.chain.last() {
            self.threads.of(caller).answer(CallStatus::Restarted, 0);
            return;
        }
        self.root_restarts += 1;
        if self.root_restarts > ROOT_RESTARTS {
            die(Fatal::RootTaskFails);
        }
    }

    fn log_last_words(&mut self, index: usize, length: u64) {
        let thread = self.threads.of(index);
        let (words, _) = self.request.split_at_mut(length.min(LAST_WORDS) as usize);
        let _ = thread.message.read(words);
        for part in words.utf8_chunks() {
            object::log::task_line(&thread.task.name, part.valid());
        }
    }
}

impl Thread {
    fn new(task: &'static Task, cpu: u32) -> Result<Self, Fatal> {
        let stride = u64::from(cpu) * layout::PER_CPU_STRIDE;
        let message = SharedPages::allocate(1).ok_or(Fatal::OutOfMemory)?;
        let stack = SharedPages::allocate(task.stack_pages.into()).ok_or(Fatal::OutOfMemory)?;
        let stack_top = layout::STACK + stride + layout::PER_CPU_STRIDE;
        let message_at = layout::MESSAGE + stride;
        for (virt, pages) in [(message_at, &message), (stack_top - stack.length(), &stack)] {
            task.space.map(virt, pages.phys(), pages.length(), PageRights::READ_WRITE)?;
        }
        let (context, state) = (Box::default(), State::Fresh);
        Ok(Self { task, context, message, stack_top, state, generation: 0 })
    }

    /// Makes the thread start from the beginning.
    fn start(&mut self, cpu: u32, generation: u32, failures: u32) {
        let task = self.task;
        let (heap, journal) = (task.heap.length(), task.journal_length);
        let info = StartInfo { cpu, generation, failures, heap, journal };
        let mut bytes = [0; 64];
        let length = message::encode(&info, &mut bytes).unwrap_or(0);
        let _ = self.message.write(bytes.get(..length).unwrap_or(&[]));
        let message_at = layout::MESSAGE + u64::from(cpu) * layout::PER_CPU_STRIDE;
        *self.context = Context::starting_at(task.entry, self.stack_top, message_at, length as u64);
        self.generation = generation;
    }

    /// Ends a call of this thread.
    fn answer(&mut self, status: CallStatus, length: usize) {
        self.context.rax = status as u64;
        self.context.rdx = length as u64;
    }
}
