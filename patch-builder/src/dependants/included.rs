//! Which C files others may include.
//!
//! Most C files are only compiled, and then nobody needs to ask what each object of the kernel includes.
//! So the few whose name stands in a directive anywhere are listed once; for these the compiler is
//! asked.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::cached;
use crate::error::Error;
use crate::kernel_tree::KernelTree;

/// The last parts of the paths, such as `rt.c`.
#[derive(Debug)]
pub struct Included {
    names: BTreeSet<String>,
}

impl Included {
    /// Those of a kernel's source, listed once.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn of(tree: &KernelTree) -> Result<Self, Error> {
        let place = cached::place(tree).join("included");
        if let Some(names) = cached::read(&place) {
            return Ok(Self { names });
        }
        let names = names(&directives(&tree.pristine())?);
        cached::write(&place, &names)?;
        Ok(Self { names })
    }

    /// Whether a file may be part of another one: headers always.
    #[must_use]
    pub fn may_be(&self, file: &str) -> bool {
        let name = file.rsplit('/').next().unwrap_or(file);
        !name.ends_with(".c") || self.names.contains(name)
    }
}

/// All directives of a source that have a C file's name in them.
fn directives(source: &Path) -> Result<String, Error> {
    let output = Command::new("grep")
        .current_dir(source)
        .args(["-rhEI", "--include=*.[chS]", r"^[[:space:]]*#.*\.c\b", "."])
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| Error::Program { program: "grep".into(), message: error.to_string() })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn names(directives: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    let words = directives.split(|c: char| !is_part(c));
    words.filter(|word| word.ends_with(".c")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_whose_name_is_in_a_directive_may_be_included() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("fs")).unwrap();
        let text = "# include \"../deep/part-1.c\"\n\t#define NAME <by_macro.c>\n/* no.c */\n";
        fs::write(folder.path().join("fs/a.c"), text).unwrap();
        let included = Included { names: names(&directives(folder.path()).unwrap()) };
        for (file, expected) in
            [("x/part-1.c", true), ("by_macro.c", true), ("x/no.c", false), ("x/any.h", true)]
        {
            assert_eq!(included.may_be(file), expected, "{file}");
        }
    }
}
