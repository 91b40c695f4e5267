//! The task `memory`.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use lucos_memory::map::GuestMap;
use lucos_memory::platform::Real;
use lucos_memory::{service, space};
use lucos_runtime::{GuestWindow, Journal, Scratch, Service, StartInfo, Thread, log, system_info};
use lucos_service::{MemoryReply, MemoryRequest};
use spin::Mutex;

lucos_runtime::entry!(run);

/// Held while the guest space, the guards or what is open is looked at or changed: the threads of
/// all processors do that.
static SPACE: Mutex<()> = Mutex::new(());

struct Memory {
    map: GuestMap<'static>,
    window: GuestWindow,
    journal: Journal,
}

fn run(mut thread: Thread, start: StartInfo) -> ! {
    let info = system_info();
    let memory = Memory {
        map: GuestMap::new(info),
        window: GuestWindow::new(info),
        journal: Journal::new(&start),
    };
    let mapped = {
        let _space = SPACE.lock();
        space::start(&mut memory.kernel(&mut thread), &memory.map)
    };
    match mapped {
        Ok(power) if start.cpu == 0 && start.generation == 0 => {
            log!(thread, "guest space: {} GiB", 1_u64 << power.saturating_sub(30));
        }
        Ok(_) => {}
        Err(_) => thread.give_up(format_args!("the guest's memory cannot be mapped")),
    }
    thread.serve(memory)
}

impl Memory {
    fn kernel<'a>(&'a self, thread: &'a mut Thread) -> Real<'a> {
        Real { thread, window: &self.window, journal: self.journal }
    }
}

impl Service for Memory {
    type Request<'a> = MemoryRequest<'a>;
    type Reply<'a> = MemoryReply<'a>;

    fn handle<'a>(
        &mut self,
        thread: &mut Thread,
        _badge: u64,
        request: MemoryRequest<'a>,
        scratch: &'a mut Scratch,
    ) -> MemoryReply<'a> {
        #[cfg(feature = "fault-injection")]
        if lucos_memory::injection::is_order(&request) {
            return MemoryReply::Done;
        }
        let changes_space = matches!(
            request,
            MemoryRequest::Guard { .. }
                | MemoryRequest::Guards { .. }
                | MemoryRequest::ReleaseAll
                | MemoryRequest::Open { .. }
                | MemoryRequest::OpenTable { .. }
                | MemoryRequest::Changes { .. }
                | MemoryRequest::Close
                | MemoryRequest::Fault { .. }
                | MemoryRequest::HiddenAccesses
        );
        let _space = changes_space.then(|| SPACE.lock());
        service::answer(&mut self.kernel(thread), &self.map, request, scratch)
    }
}
