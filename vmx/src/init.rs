//! INIT, where the machine lets LUCOS see it.

use crate::exit::{Machine, Outcome, note};
use crate::mailbox;
use crate::platform::Platform;

/// A processor that the guest sends INIT waits until the mailbox starts it again: the guest cannot
/// take it away from LUCOS. INIT to the boot processor means that the machine is to be reset.
pub fn handle(platform: &mut impl Platform, machine: &Machine<'_>) -> Outcome {
    let cpu = platform.cpu();
    note(platform, format_args!("INIT to processor {cpu}"));
    if cpu == 0 {
        return Outcome::Reset;
    }
    mailbox::wait(platform, machine);
    Outcome::Park
}

#[cfg(test)]
mod tests {
    use super::handle;
    use crate::exit::Outcome;
    use crate::fake::{self, Fake};
    use crate::processors;

    #[test]
    fn a_processor_waits_and_the_first_one_resets_the_machine() {
        let info = fake::info();
        let machine = fake::machine(&info);
        let mut platform = Fake::new();
        assert_eq!(handle(&mut platform, &machine), Outcome::Reset);
        platform.cpu = 1;
        processors::set_runs(&mut platform, 1, true);
        assert_eq!(handle(&mut platform, &machine), Outcome::Park);
        assert!(!processors::runs(&platform, 1));
    }
}
