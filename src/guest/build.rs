//! Makes the guest's program smaller when linking. Only where Rust links with its own lld.
//!
//! * Identical functions are folded: generic code of the API client, instantiated in
//!   several crates, is the same to the byte.
//! * Relative relocations are packed (DT_RELR), which a static program must be able to
//!   undo by itself at its start: glibc can since 2.36.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |part: &str| std::env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    let own_linker =
        target("OS") == "linux" && target("ENV") == "gnu" && target("ARCH") == "x86_64";
    // A cross build may find another C library than the one of this computer.
    if !own_linker || std::env::var("HOST") != std::env::var("TARGET") {
        return;
    }
    println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    // The loader of a program that is not static refuses such a one that it did not ask for.
    let is_static = target("FEATURE").split(',').any(|f| f == "crt-static");
    if is_static && libc_version() >= (2, 36) {
        println!("cargo::rustc-link-arg-bins=-Wl,--pack-dyn-relocs=relr");
    }
}

/// Major and minor of the C library this computer compiles with.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn libc_version() -> (u32, u32) {
    unsafe extern "C" {
        fn gnu_get_libc_version() -> *const std::os::raw::c_char;
    }
    // SAFETY: returns a constant, zero-terminated text (gnu_get_libc_version(3)).
    let text = unsafe { std::ffi::CStr::from_ptr(gnu_get_libc_version()) }.to_string_lossy();
    let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn libc_version() -> (u32, u32) {
    (0, 0)
}
