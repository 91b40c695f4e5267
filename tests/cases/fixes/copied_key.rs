//! A key of a jump label that is read-only after boot: the kernel's loader cannot enter a patch's
//! label for it, so the patch has a copy, which gets the key's state when the patch is loaded.

use libtest_mimic::{Failed, Trial};
use lucos_patch_builder::manifest::Revision;
use lucos_patch_builder::pinned;
use lucos_tests::fixes::OwnChange;
use lucos_tests::patch::{self, Patch};
use lucos_tests::{Report, Run, equal, guest_program};

use super::add;

/// The series whose loader writes to keys.
const SERIES: &str = "debian-6.1";
/// A change to the function that depends on the key.
const CHANGE: &str = "syscall_number";
/// The key, and the word of the command line that sets it.
const KEY: &str = "randomize_kstack_offset";
/// What follows the label in the function, in the old one as in the new: mov %gs:kstack_offset,%eax.
const BEHIND_LABEL: &str = "658b05";

/// One for each state of the key.
pub fn trials(series: &str, running: &Revision, changes: &[OwnChange]) -> Vec<Trial> {
    let Some(change) = changes.iter().find(|change| change.name == CHANGE) else {
        return Vec::new();
    };
    // The key's value as bytes, and the first byte of the label: a NOP, or a jump over the branch.
    let states = [("on", "01000000", "66"), ("off", "00000000", "eb")];
    let trial = |(word, value, label): (&'static str, &'static str, &'static str)| {
        let (running, change) = (running.clone(), change.clone());
        Trial::test(format!("fixes::{series}::a_copied_key_is_{word}"), move || {
            let report = look(&running, &change, word)?;
            let copy = format!("lucos_key_{KEY}.");
            for key in [KEY, &copy] {
                equal(key, report.value(key)?.get(..8), Some(value))?;
            }
            for function in [change.function.clone(), format!("lucos_new_{}", change.function)] {
                let text = report.value(&function)?;
                let (before, _) = text.split_once(BEHIND_LABEL).ok_or("there is no label")?;
                let at = before.len().checked_sub(4).ok_or("nothing is in front of it")?;
                equal(&function, before.get(at..at + 2), Some(label))?;
            }
            Ok(())
        })
    };
    let states = states.into_iter().filter(|_| series == SERIES);
    states.map(trial).collect()
}

/// The bytes of key, copy, old and new function in a machine that begins with the key in a state.
fn look(running: &Revision, change: &OwnChange, word: &str) -> Result<Report, Failed> {
    let folder = tempfile::tempdir()?;
    let running = pinned::running(&patch::archive()?, running, patch::tell)?;
    let patch = Patch::of_change(&running, change, folder.path())?;
    let run = Run::lucos().version(&running.kernel).append(format!("{KEY}={word}"));
    let run = add(run, &guest_program("kernel_bytes", folder.path())?);
    let (name, function) = (&change.name, &change.function);
    let text = add(run, &patch.module)
        .exec(&format!(
            "lucos apply /{name}.ko && \
             /kernel_bytes {KEY} lucos_key_{KEY}. {function} lucos_new_{function}"
        ))?
        .success()?;
    Ok(Report::new(text))
}
