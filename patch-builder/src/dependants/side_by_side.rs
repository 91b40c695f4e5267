//! Does the same with many things, on all processors, with a bar that shows how far it is.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::thread;

use indicatif::{ProgressBar, ProgressStyle};

/// Does something with each of a list's members; the results are in the list's order.
pub(super) fn each<T: Sync, R: Send>(
    list: &[T],
    bar: &ProgressBar,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let open = Mutex::new(list.iter().enumerate());
    let next = || open.lock().ok().and_then(|mut open| open.next());
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let one = || {
            let mut done = Vec::new();
            while let Some((number, member)) = next() {
                done.push((number, work(member)));
                bar.inc(1);
            }
            done
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(one)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

/// A bar on standard error; nothing where that is no terminal.
pub(super) fn bar(what: &'static str, length: usize) -> ProgressBar {
    let bar = ProgressBar::new(length as u64);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} ({eta})") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order() {
        let list: Vec<u64> = (0..100).collect();
        let bar = ProgressBar::hidden();
        let doubled = each(&list, &bar, |number| number * 2);
        assert_eq!(doubled, list.iter().map(|number| number * 2).collect::<Vec<_>>());
        assert_eq!(bar.position(), 100);
    }
}
