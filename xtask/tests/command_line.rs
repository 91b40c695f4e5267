//! What the program says before it begins: which tree it works in, where it cannot write, and
//! which kernels guests cannot run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A source tree in which nothing can be built: what tells that it was found is the error about
/// its `system.toml`.
struct Tree {
    folder: TempDir,
}

impl Tree {
    fn new() -> Self {
        let tree = Self { folder: tempfile::tempdir().unwrap() };
        for (file, text) in [
            ("Cargo.toml", "[workspace]\nmembers = [\"xtask\"]\nresolver = \"3\"\n"),
            ("system.toml", "this is no system"),
            ("xtask/Cargo.toml", "[package]\nname = \"xtask\"\nedition = \"2024\"\n"),
            ("xtask/src/main.rs", "fn main() {}\n"),
            ("tests/fixes/README", ""),
        ] {
            let file = tree.at(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        tree
    }

    /// A place in it, without links on the way.
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run(program(), &self.at(""), &[], arguments)
    }
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_xtask"))
}

fn run(program: &Path, folder: &Path, variables: &[(&str, &Path)], arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    // What cargo has told this test about its own package.
    command.env_remove("CARGO_PKG_NAME").env_remove("CARGO_MANIFEST_DIR");
    command.current_dir(folder).envs(variables.iter().copied()).args(arguments).output().unwrap()
}

fn errors(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_tree_is_the_one_in_which_it_is_started() {
    let (tree, elsewhere) = (Tree::new(), tempfile::tempdir().unwrap());
    let copy = tree.at("target/debug/xtask");
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::copy(program(), &copy).unwrap();
    let lost = elsewhere.path().join("xtask");
    fs::copy(program(), &lost).unwrap();

    let package = tree.at("xtask");
    let by_cargo = [("CARGO_PKG_NAME", Path::new("xtask")), ("CARGO_MANIFEST_DIR", &*package)];
    let of_a_test = [
        ("CARGO_PKG_NAME", Path::new("lucos-tests")),
        ("CARGO_MANIFEST_DIR", Path::new(env!("CARGO_MANIFEST_DIR"))),
    ];
    let (root, below) = (tree.at(""), tree.at("xtask/src"));
    for (program, folder, variables) in [
        (program(), root.as_path(), &[][..]),
        (program(), &below, &[]),
        (program(), &below, &of_a_test),
        (program(), elsewhere.path(), &by_cargo),
        (&copy, elsewhere.path(), &[]),
    ] {
        let said = errors(&run(program, folder, variables, &["build"]));
        let named = format!("error: {}", tree.at("system.toml").display());
        assert!(said.starts_with(&named), "{}: {said}", folder.display());
    }
    let said = errors(&run(&lost, elsewhere.path(), &[], &["build"]));
    assert!(said.starts_with("error: this is not in LUCOS's source tree"), "{said}");
}

#[test]
fn where_nothing_can_be_written_is_said_once_before_anything_is_done() {
    let tree = Tree::new();
    let (file, folder) = (tree.at("none/file.ko"), tree.at("none"));
    let file = file.to_str().unwrap();
    let patch = ["patch", "x.diff", "--guest-version", "6.1.0-47", "--yes"];
    let survey = ["patch-survey", "--from", "6.1.170-3", "--to", "6.1.192-2", "--yes"];
    let expected = format!("{file}: there is no folder {}", folder.display());
    for (verb, option) in [
        (&patch[..], "-o"),
        (&patch, "--output"),
        (&patch, "--livepatch"),
        (&survey, "--json"),
        (&survey, "--table"),
        (&["bench", "--yes"], "--json"),
        (&["build", "--yes"], "--bundle"),
        (&["iso", "--yes"], "--output"),
        (&["run", "--yes", "--exec", "true"], "--log"),
    ] {
        let said = errors(&tree.run(&[verb, &[option, file]].concat()));
        assert_eq!(said, format!("error: {expected}\n"), "{verb:?} {option}");
    }
    let output = tree.run(&[&patch[..], &["--json", "-o", file]].concat());
    assert_eq!(errors(&output), "");
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["error"], expected);
}

#[test]
fn a_kernel_of_another_flavour_is_named() {
    let tree = Tree::new();
    for version in ["6.1.0-47-arm64", "6.1.0-47-rt-amd64", "6.1.0-47-cloud-arm64"] {
        for verb in [&["run"][..], &["iso"], &["patch", "x.diff"]] {
            let said = errors(&tree.run(&[verb, &["--guest-version", version]].concat()));
            let flavour = version.trim_start_matches("6.1.0-47-");
            assert!(
                said.contains(&format!("{version} is a kernel of the flavour {flavour}")),
                "{said}"
            );
            assert!(said.contains("6.1.0-47-cloud-amd64"), "{said}");
        }
    }
    let said = errors(&tree.run(&["run", "--guest-version", "newest"]));
    assert!(said.contains("newest is no kernel version such as 6.1.0-47"), "{said}");
}
