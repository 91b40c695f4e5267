//! What stands in for the assembler while objects are compiled.
//!
//! `-ffunction-sections` splits no section that the source names (`.sched.text`, `.noinstr.text`), so
//! the assembler knows how far apart its functions are, and takes a short jump for a call at a
//! function's end. A short jump cannot lead out of the section, where the other function is once one
//! of the two is cut out. No flag of the assembler makes it wide, so a script puts `{disp32}` in front.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::error::{Error, at};

/// A shell script that is called like the assembler.
pub const SCRIPT: &str = include_str!("assembler.sh");

/// Puts the script into a folder, and gives the flag that makes the compiler find it there.
///
/// # Errors
/// When it cannot be written.
pub fn install(folder: &Path) -> Result<String, Error> {
    let script = folder.join("as");
    if fs::read_to_string(&script).is_ok_and(|text| text == SCRIPT) {
        return Ok(flag(folder));
    }
    fs::create_dir_all(folder).map_err(at(folder))?;
    let part = tempfile::NamedTempFile::new_in(folder).map_err(at(folder))?;
    fs::write(part.path(), SCRIPT).map_err(at(part.path()))?;
    fs::set_permissions(part.path(), Permissions::from_mode(0o755)).map_err(at(part.path()))?;
    // Nobody may run a script that is still open for writing.
    part.into_temp_path().persist(&script).map_err(|error| at(&script)(error.error))?;
    Ok(flag(folder))
}

fn flag(folder: &Path) -> String {
    format!("-B{}/", folder.display())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use iced_x86::{Decoder, DecoderOptions, Instruction};
    use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

    use super::*;

    /// Jumps of each kind to a function that is near, or to a label of the function's own.
    const JUMPS: &str = r#"
        #define NEAR __attribute__((section(".near.text"), noinline))
        void outside(int);
        static NEAR void target(int a) { outside(a); outside(a + 1); }
        NEAR void tail(int a) { if (a > 3) target(a); }
        NEAR void by_condition(int a) {
            asm goto("test %0, %0\n\tjz\ttarget\n\tjmp\t%l[out]" : : "r"(a) : "cc" : out);
            outside(a);
        out:;
        }
        NEAR void by_counter(void) { asm volatile("jrcxz\tlocal\n\tnop\nlocal:"); }
    "#;

    /// The lengths of the jumps from one function to another, and of those inside of one.
    fn lengths(object: &[u8]) -> (Vec<usize>, Vec<usize>) {
        let file = object::File::parse(object).unwrap();
        let section = file.section_by_name(".near.text").unwrap();
        let functions: Vec<_> = file
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text)
            .map(|symbol| symbol.address()..symbol.address() + symbol.size())
            .collect();
        let home = |place: u64| functions.iter().position(|function| function.contains(&place));
        let decoder = Decoder::with_ip(64, section.data().unwrap(), 0, DecoderOptions::NONE);
        let jumps = decoder.into_iter().filter(|one| {
            (one.is_jmp_short_or_near() || one.is_jcc_short_or_near() || one.is_jcx_short())
                && !file_links(&section, one.ip())
        });
        let (inside, between): (Vec<_>, Vec<_>) =
            jumps.partition(|one| home(one.ip()) == home(one.near_branch_target()));
        let lengths = |jumps: Vec<Instruction>| jumps.iter().map(Instruction::len).collect();
        (lengths(between), lengths(inside))
    }

    /// Whether the linker fills in where the jump at an offset leads.
    fn file_links<'d>(section: &impl ObjectSection<'d>, jump: u64) -> bool {
        section.relocations().any(|(offset, _)| offset == jump + 1)
    }

    #[test]
    fn a_jump_to_a_function_that_is_near_reaches_everything() {
        let folder = tempfile::tempdir().unwrap();
        let flag = install(&folder.path().join("bin")).unwrap();
        assert_eq!(install(&folder.path().join("bin")).unwrap(), flag);
        let path = |name: &str| folder.path().join(name);
        fs::write(path("x.c"), JUMPS).unwrap();
        let compiled = |flags: &[String]| {
            let mut gcc = Command::new("gcc");
            gcc.args(["-O2", "-fcf-protection=none", "-c", "-o"]).arg(path("x.o")).args(flags);
            let output = gcc.arg(path("x.c")).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            lengths(&fs::read(path("x.o")).unwrap())
        };
        let (between, inside) = compiled(&[]);
        assert_eq!((between.as_slice(), inside.as_slice()), (&[2, 2][..], &[2, 2, 2][..]));
        let (mut between, inside) = compiled(&[flag]);
        between.sort_unstable();
        assert_eq!((between.as_slice(), inside.as_slice()), (&[5, 6][..], &[2, 2, 2][..]));
    }
}
