//! The task `liveupdate`.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use lucos_liveupdate::kernel::{Real, facts};
use lucos_liveupdate::platform::Facts;
use lucos_liveupdate::retained::RetainedPages;
use lucos_liveupdate::service::Liveupdate;
use lucos_runtime::{GuestWindow, Journal, Scratch, Service, StartInfo, Thread, log, system_info};
use lucos_service::{LiveupdateReply, LiveupdateRequest};
use spin::Once;

lucos_runtime::entry!(run);

#[cfg(not(feature = "fault-injection"))]
type Pages = RetainedPages;
#[cfg(feature = "fault-injection")]
type Pages = lucos_liveupdate::injection::FaultyStore<RetainedPages>;

/// What the threads of all processors share.
static SHARED: Once<Liveupdate<Pages>> = Once::new();

struct OneThread {
    shared: &'static Liveupdate<Pages>,
    processor: u32,
    facts: Facts,
    pages: RetainedPages,
    window: GuestWindow,
}

fn run(mut thread: Thread, start: StartInfo) -> ! {
    let facts = facts(system_info());
    let pages = RetainedPages(Journal::new(&start));
    #[cfg(not(feature = "fault-injection"))]
    let store = pages;
    #[cfg(feature = "fault-injection")]
    let store = lucos_liveupdate::injection::FaultyStore(pages);
    let (processors, redirections) = (facts.processors(), pages.redirections());
    let shared = SHARED.call_once(|| Liveupdate::new(store, processors, redirections));
    if start.cpu == 0
        && let Some(error) = shared.journal_error()
    {
        log!(thread, "nothing can be updated: the journal is {error:?}");
    }
    let window = GuestWindow::new(system_info());
    thread.serve(OneThread { shared, processor: start.cpu, facts, pages, window })
}

impl Service for OneThread {
    type Request<'a> = LiveupdateRequest;
    type Reply<'a> = LiveupdateReply;

    fn handle(
        &mut self,
        thread: &mut Thread,
        _badge: u64,
        request: LiveupdateRequest,
        _scratch: &mut Scratch,
    ) -> LiveupdateReply {
        let Self { shared, processor, facts, pages, ref window } = *self;
        answer(shared, Real { thread, processor, facts, pages, window }, &request)
    }
}

#[cfg(not(feature = "fault-injection"))]
fn answer(
    shared: &Liveupdate<Pages>,
    mut kernel: Real<'_>,
    request: &LiveupdateRequest,
) -> LiveupdateReply {
    shared.answer(&mut kernel, request)
}

#[cfg(feature = "fault-injection")]
fn answer(
    shared: &Liveupdate<Pages>,
    kernel: Real<'_>,
    request: &LiveupdateRequest,
) -> LiveupdateReply {
    use lucos_liveupdate::injection;
    use lucos_liveupdate::platform::Platform;
    if let Some(reply) = injection::order(request) {
        return reply;
    }
    injection::begin(request, kernel.processor(), shared.upcalls());
    let mut faulty = injection::Faulty(kernel);
    let reply = shared.answer(&mut faulty, request);
    injection::report(&mut faulty, &reply);
    reply
}
