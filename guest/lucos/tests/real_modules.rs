//! The sample patches, built as kernel modules where kernel headers are at hand: in the folders
//! that LUCOS_TEST_HEADERS lists (separated by colons), or installed under /usr/src.

use std::path::{Path, PathBuf};
use std::process::Command;

use lucos::patch_file::PatchFile;

fn headers() -> Vec<PathBuf> {
    if let Some(list) = std::env::var_os("LUCOS_TEST_HEADERS") {
        return std::env::split_paths(&list).collect();
    }
    let installed = std::fs::read_dir("/usr/src").into_iter().flatten().flatten();
    installed
        .map(|entry| entry.path())
        .filter(|path| path.join("Module.symvers").exists())
        .collect()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn make(headers: &Path, folder: &Path, symbols: Option<&Path>) {
    let mut command = Command::new("make");
    command.arg("-C").arg(headers).arg(format!("M={}", folder.display()));
    command.args(["CONFIG_DEBUG_INFO_BTF_MODULES=", "KBUILD_MODPOST_WARN=1"]);
    if let Some(symbols) = symbols {
        command.arg(format!("KBUILD_EXTRA_SYMBOLS={}", symbols.display()));
    }
    let made = command.arg("modules").output().expect("make");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn the_samples_are_patches() {
    let headers = headers();
    if headers.is_empty() {
        eprintln!("no kernel headers are at hand: nothing is tested");
    }
    for headers in headers {
        check_samples(&headers);
    }
}

fn check_samples(headers: &Path) {
    let scratch = tempfile::tempdir().unwrap();
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for folder in ["manager", "patches", "include"] {
        copy_folder(&guest.join(folder), &scratch.path().join(folder));
    }
    let (manager, patches) = (scratch.path().join("manager"), scratch.path().join("patches"));
    make(headers, &manager, None);
    make(headers, &patches, Some(&manager.join("Module.symvers")));
    let release = std::fs::read_to_string(headers.join("include/generated/utsrelease.h")).unwrap();
    let release = release.split('"').nth(1).unwrap();
    for entry in std::fs::read_dir(&patches).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "ko") {
            continue;
        }
        let file = PatchFile::read(&path).unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert_eq!((file.name.as_str(), file.file.module.as_str()), (stem, stem));
        assert!(file.file.check_kernel(release).is_ok());
        assert!(file.build_note.is_some());
        for function in &file.functions {
            let undefined = file.file.undefined.iter().any(|symbol| symbol.name == *function);
            assert!(undefined, "{function} of {stem} is exported");
        }
        let exported = ["seq_printf", "lucos_patch_load", "__fentry__"];
        assert!(file.file.undefined.iter().all(|symbol| !exported.contains(&symbol.name.as_str())));
    }
}
