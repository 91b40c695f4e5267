// The build script of every task is `include!("../runtime/task_link.rs");`: link options cannot
// come from a library, so each task's package has to give them itself.

fn main() {
    println!("cargo:rerun-if-changed=../runtime/task.ld");
    println!("cargo:rerun-if-changed=../runtime/task_link.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let package = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    for option in [
        format!("-T{package}/../runtime/task.ld"),
        "-no-pie".into(),
        "-zmax-page-size=4096".into(),
        "--build-id=none".into(),
    ] {
        println!("cargo:rustc-link-arg-bins={option}");
    }
}
