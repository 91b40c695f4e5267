//! The task `liveupdate`.

#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

use lucos_liveupdate::kernel::{Kernel, RetainedPages, facts};
use lucos_liveupdate::platform::Facts;
use lucos_liveupdate::service::Liveupdate;
use lucos_runtime::{Journal, Scratch, Service, StartInfo, Thread, log, system_info};
use lucos_service::{LiveupdateReply, LiveupdateRequest};
use spin::Once;

lucos_runtime::entry!(run);

/// What the threads of all processors share.
static SHARED: Once<Liveupdate<RetainedPages>> = Once::new();

struct OneThread {
    shared: &'static Liveupdate<RetainedPages>,
    processor: u32,
    facts: Facts,
    pages: RetainedPages,
}

fn run(mut thread: Thread, start: StartInfo) -> ! {
    let facts = facts(system_info());
    let pages = RetainedPages(Journal::new(&start));
    let shared =
        SHARED.call_once(|| Liveupdate::new(pages, facts.processors, pages.redirections()));
    if start.cpu == 0
        && let Some(error) = shared.journal_error()
    {
        log!(thread, "nothing can be updated: the journal is {error:?}");
    }
    thread.serve(OneThread { shared, processor: start.cpu, facts, pages })
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
        let mut kernel =
            Kernel { thread, processor: self.processor, facts: self.facts, pages: self.pages };
        self.shared.answer(&mut kernel, &request)
    }
}
