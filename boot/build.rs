//! Links the stub at a fixed place, with the headers that QEMU and GRUB look for.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=link.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        let script = format!("-T{folder}/link.ld");
        for argument in ["-no-pie", "-zmax-page-size=4096", "--build-id=none", &script] {
            println!("cargo:rustc-link-arg-bins={argument}");
        }
    }
}
