// The build script of every task is `include!("../runtime/task_link.rs");`: link options cannot
// come from a library, so each task's package has to give them itself.

fn main() {
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let package = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let script = std::path::Path::new(&package)
        .ancestors()
        .map(|folder| folder.join("runtime/task.ld"))
        .find(|script| script.exists())
        .expect("runtime/task.ld lies above every task");
    println!("cargo:rerun-if-changed={}", script.display());
    for option in [
        format!("-T{}", script.display()),
        "-no-pie".into(),
        "-zmax-page-size=4096".into(),
        "--build-id=none".into(),
        // The kernel keeps the whole file for restarts; symbols stay.
        "--strip-debug".into(),
    ] {
        println!("cargo:rustc-link-arg-bins={option}");
    }
}
