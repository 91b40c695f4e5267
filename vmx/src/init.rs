//! INIT, where the machine lets LUCOS see it.

use crate::mailbox;
use crate::outcome::{Facts, Outcome, note};
use crate::platform::Platform;

/// A processor that the guest sends INIT waits until the mailbox starts it again: the guest cannot
/// take it away from LUCOS. INIT to the boot processor means that the machine is to be reset.
pub fn handle(platform: &mut impl Platform, facts: &Facts<'_>) -> Outcome {
    let cpu = platform.cpu();
    note(platform, format_args!("INIT to processor {cpu}"));
    if cpu == 0 {
        return Outcome::Reset;
    }
    mailbox::wait(platform, facts);
    Outcome::Park
}

#[cfg(test)]
mod tests {
    use super::handle;
    use crate::fake::{self, Fake};
    use crate::outcome::Outcome;
    use crate::processors;

    #[test]
    fn a_processor_waits_and_the_first_one_resets_the_machine() {
        let info = fake::info();
        let facts = fake::facts(&info);
        let mut platform = Fake::new();
        assert_eq!(handle(&mut platform, &facts), Outcome::Reset);
        platform.cpu = 1;
        processors::set_runs(&mut platform, 1, true);
        assert_eq!(handle(&mut platform, &facts), Outcome::Park);
        assert!(!processors::runs(&platform, 1));
    }
}
