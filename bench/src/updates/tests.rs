//! From what a guest prints to table and picture.

use crate::output::Output;
use crate::updates::{Change, Error, Livepatch, Measured, changes, derive, picture, table};

/// What the guest prints of a row under LUCOS: three stops, each with an exit of its own, while
/// asking costs five and showing the patch two.
fn lucos(name: &str, old: &str, new: &str) -> String {
    let mut text = format!("{name}.old {old}\n{name}.lucos.load 5000\n{name}.lucos.sign {new}\n");
    let mut exits = 100;
    let mut status = |step: &str, more: u32, stops: u32, ticks: u32| {
        exits += more + 5;
        text += &format!(
            "{name}.lucos.{step} {{\"stops\": {stops}, \"messages\": 9, \
             \"last_stop_ticks\": {ticks}, \"exits\": {{\"VMMCALL\": {exits}}}}}\n"
        );
    };
    status("ask.0", 0, 7, 1);
    status("ask.1", 0, 7, 1);
    status("start", 0, 7, 1);
    status("applied", 1, 8, 20_000);
    status("settled", 1, 9, 10_000);
    status("shown", 2, 9, 10_000);
    status("rolled", 1, 10, 15_000);
    text += &format!(
        "{name}.lucos.show {{\"function\": [{{\"state\": \"JUMP\"}}]}}\n\
         {name}.lucos.apply 60000\n{name}.lucos.rollback 30000\n"
    );
    text
}

fn rows() -> Vec<Change> {
    let (_, rows) = changes().unwrap();
    rows.into_iter().filter(|row| ["livelock", "waiter", "copy"].contains(&&*row.name)).collect()
}

fn printed(rows: &[Change]) -> String {
    let mut text = String::new();
    for row in rows {
        let sign = row.sign.as_ref().unwrap();
        text += &lucos(&row.name, &sign.old, &sign.new);
    }
    text + "livelock.livepatch.load 70000\nlivelock.livepatch.complete 71000\n\
            livelock.livepatch.sign bounded\nlivelock.livepatch.disable 90000\n\
            waiter.livepatch.load 70000\nwaiter.livepatch.waited 60000000000\n\
            waiter.livepatch.who waiter\nwaiter.livepatch.disable 80000\n\
            copy.livepatch.refused Invalid argument\ncopy.livepatch.reason livepatch: no slot\n"
}

fn measured() -> Vec<Measured> {
    let rows = rows();
    derive(&Output::parse(&printed(&rows)), &rows).unwrap()
}

#[test]
fn what_asking_costs_is_not_the_updates() {
    for row in measured() {
        let lucos = row.lucos;
        let steps = [lucos.apply, lucos.jump, lucos.rollback];
        assert_eq!(steps.map(|step| step.exits), [1.0; 3]);
        assert_eq!(steps.map(|step| step.stops), [1.0; 3]);
        assert_eq!(steps.map(|step| step.stopped), [20_000.0, 10_000.0, 15_000.0]);
        assert_eq!((row.functions, row.redirected, lucos.jumps), (1, 1, 1));
    }
}

#[test]
fn livepatch_may_end_in_three_ways() {
    let all = measured().into_iter().map(|row| row.livepatch);
    let [complete, stuck, refused] = <[Livepatch; 3]>::try_from(all.collect::<Vec<_>>()).unwrap();
    let (load, complete_at, disable) = (70_000.0, 71_000.0, 90_000.0);
    assert_eq!(complete, Livepatch::Complete { load, complete: complete_at, disable });
    let who = String::from("waiter");
    assert_eq!(stuck, Livepatch::Stuck { load, waited: 6e10, who, cancel: 80_000.0 });
    assert!(matches!(refused, Livepatch::Refused { reason, .. } if reason == "livepatch: no slot"));
}

#[test]
fn what_is_not_in_force_is_not_measured() {
    let rows = rows();
    let text = printed(&rows);
    for (line, wrong) in [
        ("livelock.livepatch.sign bounded", "livelock.livepatch.sign unbounded"),
        ("waiter.lucos.sign new", "waiter.lucos.sign old"),
        ("copy.old 0", "copy.old 1"),
    ] {
        assert!(text.contains(line), "{line}");
        let result = derive(&Output::parse(&text.replace(line, wrong)), &rows);
        assert!(matches!(result, Err(Error::Sign { .. })), "{wrong}");
    }
    let nothing = text.replace("\"state\"", "\"State\"").replace("[{\"State\": \"JUMP\"}]", "[]");
    assert!(matches!(derive(&Output::parse(&nothing), &rows), Err(Error::Functions { .. })));
    let missing = text.replace("waiter.livepatch.who", "waiter.who");
    assert!(matches!(derive(&Output::parse(&missing), &rows), Err(Error::Missing(_))));
}

#[test]
fn table_and_picture_say_what_livepatch_cannot_do() {
    let rows = measured();
    let text = table(&rows);
    for part in [
        "never: after 60,000,000,000 waiter has the old code",
        " refused |",
        "`livepatch: no slot`",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let svg = picture(&rows).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for (part, count) in [("never", 1), ("refused", 1), ("20.0 k", 3), ("71.0 k", 1)] {
        assert_eq!(svg.matches(part).count(), count, "{part}");
    }
}
