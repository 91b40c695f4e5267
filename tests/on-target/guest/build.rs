//! Links the guest at a fixed place in low memory.

fn main() {
    println!("cargo:rerun-if-changed=guest.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let package = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    for option in [format!("-T{package}/guest.ld"), "-no-pie".into(), "--build-id=none".into()] {
        println!("cargo:rustc-link-arg-bins={option}");
    }
}
