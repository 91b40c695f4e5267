//! What updates that change data cost: their stops, and what a write costs while old and new code run.

use crate::figures::Figures;
use crate::output::{Missing, Output};

/// How many objects the measured patches have in another form.
pub const OBJECTS: [u32; 3] = [1, 100, 1000];

/// The measured writes: to what lies beside an object, to objects of so many bytes, and 64 bytes by a
/// string instruction.
pub const WRITES: [&str; 5] = ["neighbour", "4", "64", "4096", "string"];

/// The two stops in the life of such an update.
pub const MOVES: [&str; 2] = ["apply", "rollback"];

/// What the guest's shell does. A thread sleeps in an old function while the last patch is applied.
pub fn script() -> String {
    let mut text = String::from(
        "insmod /lib/lucos/modules/figures_target.ko || exit 1\n\
         T=/sys/module/figures_target/parameters\n",
    );
    for objects in OBJECTS {
        text += &format!(
            "lucos apply /lib/lucos/modules/figures_data_{objects}.ko >/dev/null || exit 1\n\
             ask data.{objects}.apply status\n\
             lucos rollback figures_data_{objects} >/dev/null || exit 1\n\
             ask data.{objects}.rollback status\n"
        );
    }
    text += "echo 1 >$T/hold; pause 1\n\
             echo writes.before $(cat $T/writes)\n\
             lucos apply /lib/lucos/modules/figures_guarded.ko >/dev/null || exit 1\n\
             ask data.guarded.apply status\n\
             echo writes.guarded $(cat $T/writes)\n\
             echo 0 >$T/hold\n\
             while lucos list --json | grep -q settling; do pause 1; done\n\
             echo writes.drained $(cat $T/writes)\n\
             lucos rollback figures_guarded >/dev/null || exit 1\n";
    text
}

/// From what it printed to figures: `data.STOP.OBJECTS.instructions`, `write.KIND.guarded`, and what a
/// write costs more than before when nobody is in old code any more.
///
/// # Errors
/// When the script did not print what it should.
pub fn figures(output: &Output) -> Result<Figures, Missing> {
    let mut figures = Figures::new();
    for objects in OBJECTS {
        for stop in MOVES {
            let ticks = output.status(&format!("data.{objects}.{stop}"), "last_stop_ticks")?;
            figures.insert(format!("data.{stop}.{objects}.instructions"), ticks);
        }
    }
    let ticks = output.status("data.guarded.apply", "last_stop_ticks")?;
    figures.insert("data.apply.guarded.instructions".into(), ticks);
    let writes = |when| output.numbers::<{ WRITES.len() }>(&format!("writes.{when}"));
    let (before, guarded, drained) = (writes("before")?, writes("guarded")?, writes("drained")?);
    for (kind, ((before, guarded), drained)) in
        WRITES.into_iter().zip(before.into_iter().zip(guarded).zip(drained))
    {
        figures.insert(format!("write.{kind}.guarded"), guarded);
        figures.insert(format!("write.{kind}.more"), drained - before);
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::figures;
    use crate::output::Output;

    /// What the guest prints, with these writes after the drain.
    fn printed(drained: &str) -> Output {
        let mut text = String::new();
        for name in ["1.apply", "1.rollback", "100.apply", "100.rollback", "1000.apply"]
            .into_iter()
            .chain(["1000.rollback", "guarded.apply"])
        {
            text += &format!("data.{name} {{\"last_stop_ticks\":7}}\n");
        }
        text += "writes.before 4 4 4 4 20\nwrites.guarded 50 60 70 80 90\n";
        Output::parse(&format!("{text}writes.drained {drained}\n"))
    }

    #[test]
    fn what_writes_cost_more_is_found_and_none_is_left_out() {
        let found = figures(&printed("4 4 9 4 20")).unwrap();
        assert_eq!(found["write.64.more"], 5.0);
        assert_eq!(found["write.string.guarded"], 90.0);
        assert_eq!(found["data.apply.guarded.instructions"], 7.0);
        assert!(figures(&printed("4 4 9 4")).is_err());
    }
}
