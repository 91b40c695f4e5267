//! Writes the seeds of all targets, one file each: `cargo run --example seeds FOLDER`. A fuzzer
//! starts from `FOLDER/TARGET`.

use std::path::PathBuf;
use std::{env, fs, io};

use lucos_hostile_input::TARGETS;

fn main() -> io::Result<()> {
    let folder = env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| io::Error::other("name a folder"))?;
    for target in TARGETS {
        let place = folder.join(target.name);
        fs::create_dir_all(&place)?;
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            fs::write(place.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
