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
    let [before, guarded, drained] =
        ["before", "guarded", "drained"].map(|when| output.numbers(&format!("writes.{when}")));
    let (before, guarded, drained) = (before?, guarded?, drained?);
    for (kind, ((before, guarded), drained)) in
        WRITES.into_iter().zip(before.into_iter().zip(guarded).zip(drained))
    {
        figures.insert(format!("write.{kind}.guarded"), guarded);
        figures.insert(format!("write.{kind}.more"), drained - before);
    }
    Ok(figures)
}
