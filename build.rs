//! Has the linker pack the table of addresses that are moved when the program starts: it was a
//! fortieth of the binary. GNU libc knows the form since 2.36, and linkers without it pass over this.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|is| is == value);
    if is("CARGO_CFG_TARGET_ENV", "gnu") && is("PROFILE", "release") {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
