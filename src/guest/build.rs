//! Makes the guest's program smaller when linking. Only where Rust links with its own lld.
//!
//! * Identical functions are folded: generic code of the API client, instantiated in
//!   several crates, is the same to the byte.
//! * A static program is linked for a fixed address, as those of upstream (Go's) are. Otherwise
//!   each process writes its own address into 1.9 MB of tables of functions at its start, and
//!   has them for itself from then on: server, agent, and the first process of every pod.
//! * Where that cannot be, relative relocations are packed (DT_RELR), which a static program
//!   must be able to undo by itself at its start: glibc can since 2.36.

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
    if is_static && links_at_fixed_address() {
        // Not `-static`: its crtbeginT.o registers the unwind tables one by one, which then are
        // read as a whole before the first unwinding, by newer compilers at every start.
        for argument in FIXED {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    } else if is_static && libc_version() >= (2, 36) {
        println!("cargo::rustc-link-arg-bins=-Wl,--pack-dyn-relocs=relr");
    }
}

/// What Rust asks of the compiler that links a static program, and what takes back that the
/// program may lie anywhere. There are no shared libraries among what it links.
const ANYWHERE: &str = "-static-pie";
const FIXED: [&str; 2] = ["-no-pie", "-Wl,--no-dynamic-linker"];

/// Whether the compiler that links lets the later of the two count, as GCC does; Clang refuses
/// them together. Asked for its commands, it does nothing.
fn links_at_fixed_address() -> bool {
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    let linker = std::env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".to_owned());
    let mut command = std::process::Command::new(linker);
    let asked = command.arg(ANYWHERE).args(FIXED).args(["-###", "x.o"]);
    asked.output().is_ok_and(|told| {
        let commands = String::from_utf8_lossy(&told.stderr);
        // The start of a program at a fixed address, and no other's.
        told.status.success()
            && commands.contains("/crt1.o")
            && commands.contains("/crtbegin.o")
            && !commands.contains(" -pie")
    })
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
