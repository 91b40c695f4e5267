//! Where the code of a task lies: everybody can look that up in the files.

use std::process::Command;

use libtest_mimic::Failed;

/// The addresses of all functions of a task, as `Run` builds it, in hexadecimal digits.
///
/// # Errors
/// When the images cannot be built or read.
pub fn task_functions(task: &str) -> Result<Vec<String>, Failed> {
    let built = output(crate::xtask().args(["build", "--debug", "--yes"]))?;
    let file = format!("lucos-{task}");
    let image =
        built.lines().find(|line| line.ends_with(&file)).ok_or("the build lists no task")?;
    let symbols = output(Command::new("nm").args(["--defined-only", image]))?;
    let functions = symbols.lines().filter_map(|line| {
        let (address, rest) = line.split_once(' ')?;
        matches!(rest.split(' ').next()?, "t" | "T").then(|| address.to_owned())
    });
    Ok(functions.collect())
}

fn output(command: &mut Command) -> Result<String, Failed> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
