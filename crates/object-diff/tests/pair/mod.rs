//! Two builds of a small C file, compiled as the kernel's build compiles.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::Path;
use std::process::Command;

use lucos_object_diff::{
    Comparison, Decision, Extract, Input, Links, Refusal, SourceChange, SpecialSizes, State,
    compare, extract, users_left,
};
use tempfile::TempDir;

/// What the kernel's build passes, as far as it shapes the code.
const FLAGS: [&str; 17] = [
    "-g",
    "-c",
    "-O2",
    "-std=gnu11",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-pie",
    "-mcmodel=kernel",
    "-mno-red-zone",
    "-ffreestanding",
    "-fno-common",
    "-fno-stack-protector",
    "-fcf-protection=none",
    "-fno-asynchronous-unwind-tables",
    "-fno-strict-aliasing",
    "-fno-allow-store-data-races",
    "-w",
];

/// Two objects.
#[derive(Clone)]
pub struct Pair {
    pub original: Vec<u8>,
    pub patched: Vec<u8>,
    pub ibt: bool,
    pub sizes: SpecialSizes,
    pub edited: Vec<String>,
    /// What the author says.
    pub decisions: Vec<Decision>,
    pub before: String,
    pub after: String,
}

impl Pair {
    /// Compiles two versions of a file.
    pub fn of(before: &str, after: &str) -> Self {
        Self::with_flags(before, after, &[])
    }

    /// Compiles two versions of a file with further flags.
    pub fn with_flags(before: &str, after: &str, flags: &[&str]) -> Self {
        let original = compile(before, flags);
        let patched = compile(after, flags);
        Self {
            original,
            patched,
            ibt: false,
            sizes: SpecialSizes::LINUX_6_1,
            edited: Vec::new(),
            decisions: Vec::new(),
            before: before.to_owned(),
            after: after.to_owned(),
        }
    }

    /// The same with other objects.
    pub fn with_objects(&self, original: Vec<u8>, patched: Vec<u8>, ibt: bool) -> Self {
        Self { original, patched, ibt, ..self.clone() }
    }

    fn with_input<T>(&self, work: impl FnOnce(&Input<'_>) -> T) -> T {
        let sources = [SourceChange { path: "test.c", before: &self.before, after: &self.after }];
        work(&Input {
            sources: &sources,
            decisions: &self.decisions,
            original: &self.original,
            patched: &self.patched,
            sizes: self.sizes,
            ibt: self.ibt,
            module: false,
            name: "test.o",
            edited: &self.edited,
        })
    }

    pub fn compare(&self) -> Comparison {
        self.try_compare().expect("comparable objects")
    }

    pub fn try_compare(&self) -> Result<Comparison, Refusal> {
        self.with_input(compare)
    }

    pub fn extract(&self) -> Extract {
        self.try_extract(&Links::default()).expect("a cut-out")
    }

    pub fn try_extract(&self, links: &Links) -> Result<Extract, Refusal> {
        self.with_input(|input| extract(input, &self.compare(), links))
    }

    /// What stays as it is and uses a function of another object.
    pub fn users_left(&self, name: &str) -> Vec<(String, String)> {
        self.with_input(|input| users_left(input, &[name.to_owned()].into()))
            .expect("comparable objects")
    }

    /// Names of the functions that differ.
    pub fn changed(&self) -> Vec<String> {
        self.compare().functions.into_iter().map(|function| function.name).collect()
    }

    /// The variables that can be written to: function, name in the source and what becomes of each,
    /// sorted.
    pub fn variables(&self) -> Vec<(String, String, &'static str)> {
        let mut list: Vec<_> = self
            .compare()
            .variables
            .into_iter()
            .map(|variable| {
                let name = variable.name.split('.').next().unwrap_or_default().to_owned();
                let state = match variable.state {
                    State::Kept(_) => "kept",
                    State::New => "new",
                    State::Gone => "gone",
                };
                (variable.function.unwrap_or_default(), name, state)
            })
            .collect();
        list.sort();
        list
    }

    /// Links the original object, the cut-out and a program that uses both, and runs it: its exit
    /// status. Static names of the original are visible to the others.
    pub fn run(&self, main: &str) -> i32 {
        let folder = TempDir::new().expect("a folder");
        let extract = self.extract();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("original.o"), &self.original).expect("written");
        std::fs::write(path("cut.o"), &extract.elf).expect("written");
        std::fs::write(path("main.o"), compile(main, &["-mcmodel=small"])).expect("written");
        let mut objcopy = Command::new("objcopy");
        for reference in extract.references.iter().filter(|reference| reference.is_static) {
            objcopy.arg(format!("--globalize-symbol={}", reference.name));
        }
        must(objcopy.arg(path("original.o")));
        // As kbuild does first.
        must(Command::new("ld").args(["-r", "-o"]).arg(path("linked.o")).arg(path("cut.o")));
        let mut gcc = Command::new(gcc());
        gcc.args(["-no-pie", "-static", "-o"]).arg(path("program"));
        must(gcc.arg(path("main.o")).arg(path("original.o")).arg(path("linked.o")));
        let status = Command::new(path("program")).status().expect("run");
        status.code().expect("no signal")
    }
}

/// Compiles C to an object.
pub fn compile(source: &str, flags: &[&str]) -> Vec<u8> {
    let folder = TempDir::new().expect("a folder");
    let (file, object) = (folder.path().join("test.c"), folder.path().join("test.o"));
    std::fs::write(&file, source).expect("written");
    let mut gcc = Command::new(gcc());
    // Paths of the folder must not show in the object.
    gcc.current_dir(folder.path()).args(FLAGS).args(flags).arg("test.c").arg("-o").arg(&object);
    must(&mut gcc);
    std::fs::read(&object).expect("an object")
}

/// The compiler of Debian's kernels, or whatever there is.
fn gcc() -> &'static str {
    if Path::new("/usr/bin/gcc-12").exists() { "gcc-12" } else { "gcc" }
}

fn must(command: &mut Command) {
    let output = command.output().expect("a program that starts");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {errors}");
}

/// The relocations of an object: section, offset, symbol name, addend.
pub fn relocations(elf: &[u8]) -> Vec<(String, u64, String, i64)> {
    use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget};
    let file = object::File::parse(elf).expect("an object");
    let mut list = Vec::new();
    for section in file.sections() {
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
            let symbol = file.symbol_by_index(symbol).expect("a symbol");
            let mut name = symbol.name().expect("a name").to_owned();
            if let Some(index) = symbol.section_index().filter(|_| name.is_empty()) {
                name = file.section_by_index(index).expect("a section").name().unwrap().to_owned();
            }
            let section = section.name().expect("a name").to_owned();
            list.push((section, offset, name, relocation.addend()));
        }
    }
    list
}

/// The bytes of a section.
pub fn section(elf: &[u8], name: &str) -> Option<Vec<u8>> {
    use object::{Object, ObjectSection};
    let file = object::File::parse(elf).expect("an object");
    let section = file.section_by_name(name)?;
    Some(section.data().expect("data").to_vec())
}

/// The names of an object's symbols.
pub fn symbols(elf: &[u8]) -> Vec<String> {
    use object::{Object, ObjectSymbol};
    let file = object::File::parse(elf).expect("an object");
    file.symbols().map(|symbol| symbol.name().expect("a name").to_owned()).collect()
}
