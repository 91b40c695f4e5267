//! Links the kernel as hermit-entry wants it: position independent, for any place in memory.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        for argument in ["-zmax-page-size=4096", "--build-id=none"] {
            println!("cargo:rustc-link-arg-bins={argument}");
        }
    }
}
