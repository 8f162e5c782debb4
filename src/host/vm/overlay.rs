//! Disk images through qemu-img: overlays on a base, growing, looking inside.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;

use crate::error::VmError;

/// What `qemu-img info` knows about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Size the guest sees, in bytes.
    pub virtual_size: u64,
    /// Space taken on the host, in bytes.
    pub actual_size: u64,
    /// Backing file as recorded in the image.
    pub backing: Option<PathBuf>,
    /// QEMU marked the image as damaged.
    pub corrupt: bool,
}

/// Result of [`check`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    Clean,
    /// Some space is lost; the data is fine.
    Leaks,
}

/// Creates `overlay` on `base` with a virtual size of `size` bytes; both paths absolute.
/// The file appears under its name only when it is complete.
///
/// # Errors
/// [`VmError::Missing`] without a base, [`VmError::CorruptImage`] if the base is not a sound
/// qcow2, [`VmError::Shrink`] if it is larger than `size`, [`VmError::DiskFull`], [`VmError::Tool`].
pub fn create(qemu_img: &Path, base: &Path, overlay: &Path, size: u64) -> Result<(), VmError> {
    let below = info(qemu_img, base)?;
    if below.virtual_size > size {
        return Err(VmError::Shrink {
            path: base.to_path_buf(),
            current: below.virtual_size,
            asked: size,
        });
    }
    let partial = overlay.with_extension("qcow2.new");
    let mut command = Command::new(qemu_img);
    command
        .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
        .arg(base)
        .arg(&partial)
        .arg(size.to_string());
    let made = run(command, "create", &partial);
    if made.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&partial);
    }
    made?;
    // Its name must not outlive what it names if the power fails now.
    let synced = std::fs::File::open(&partial).and_then(|file| file.sync_all());
    synced.map_err(|e| VmError::file("sync", &partial, e))?;
    std::fs::rename(&partial, overlay).map_err(|e| VmError::file("rename", overlay, e))
}

/// Looks at a qcow2 image, also while a machine uses it.
///
/// # Errors
/// [`VmError::Missing`], [`VmError::CorruptImage`], [`VmError::Tool`], [`VmError::Run`].
pub fn info(qemu_img: &Path, image: &Path) -> Result<ImageInfo, VmError> {
    if !image.exists() {
        return Err(VmError::Missing {
            what: "disk image",
            path: image.to_path_buf(),
        });
    }
    let mut command = Command::new(qemu_img);
    command
        .args(["info", "-U", "-f", "qcow2", "--output=json"])
        .arg(image);
    let output = run(command, "info", image)?;
    parse_info(&output.stdout).map_err(|why| VmError::CorruptImage {
        path: image.to_path_buf(),
        why,
    })
}

/// Makes the disk larger; the guest grows its file system at the next start.
///
/// # Errors
/// [`VmError::Shrink`] and as [`info`].
pub fn grow(qemu_img: &Path, image: &Path, size: u64) -> Result<(), VmError> {
    let current = info(qemu_img, image)?.virtual_size;
    if size < current {
        return Err(VmError::Shrink {
            path: image.to_path_buf(),
            current,
            asked: size,
        });
    }
    if size == current {
        return Ok(());
    }
    let mut command = Command::new(qemu_img);
    command
        .args(["resize", "-q", "-f", "qcow2"])
        .arg(image)
        .arg(size.to_string());
    run(command, "resize", image).map(drop)
}

/// Reads all metadata of a stopped machine's disk and of the base it stands on.
///
/// # Errors
/// [`VmError::Missing`] if the base is gone, [`VmError::CorruptImage`], [`VmError::Tool`].
pub fn check(qemu_img: &Path, image: &Path) -> Result<Check, VmError> {
    let seen = info(qemu_img, image)?;
    if let Some(base) = seen.backing.filter(|b| !b.exists()) {
        return Err(VmError::Missing {
            what: "base image",
            path: base,
        });
    }
    if seen.corrupt {
        return Err(VmError::CorruptImage {
            path: image.to_path_buf(),
            why: "QEMU marked it as corrupt".into(),
        });
    }
    let mut command = Command::new(qemu_img);
    command.args(["check", "-q", "-f", "qcow2"]).arg(image);
    let output = output(command)?;
    // Exit statuses documented in qemu-img(1).
    match output.status.code() {
        Some(0) => Ok(Check::Clean),
        Some(3) => Ok(Check::Leaks),
        Some(2) => Err(VmError::CorruptImage {
            path: image.to_path_buf(),
            why: words(&output),
        }),
        _ => Err(classify(&output, "check", image)),
    }
}

/// Puts a stopped machine's disk back to what it held when it was kept under `name`.
///
/// # Errors
/// [`VmError::Missing`], [`VmError::Tool`] if it never was, [`VmError::CorruptImage`].
pub fn go_back(qemu_img: &Path, image: &Path, name: &str) -> Result<(), VmError> {
    snapshot(qemu_img, image, "-a", name)
}

/// Forgets what a stopped machine's disk keeps under `name`.
///
/// # Errors
/// As [`go_back`].
pub fn forget(qemu_img: &Path, image: &Path, name: &str) -> Result<(), VmError> {
    snapshot(qemu_img, image, "-d", name)
}

/// Whether a disk keeps something under `name`; also while a machine uses it.
///
/// # Errors
/// As [`info`].
pub fn keeps(qemu_img: &Path, image: &Path, name: &str) -> Result<bool, VmError> {
    let mut command = Command::new(qemu_img);
    command
        .args(["info", "-U", "-f", "qcow2", "--output=json"])
        .arg(image);
    let output = run(command, "info", image)?;
    let seen: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|e| VmError::CorruptImage {
            path: image.to_path_buf(),
            why: e.to_string(),
        })?;
    let all = seen["snapshots"].as_array().into_iter().flatten();
    Ok(all.into_iter().any(|kept| kept["name"] == name))
}

fn snapshot(qemu_img: &Path, image: &Path, act: &str, name: &str) -> Result<(), VmError> {
    if !image.exists() {
        return Err(VmError::Missing {
            what: "disk image",
            path: image.to_path_buf(),
        });
    }
    let mut command = Command::new(qemu_img);
    command.args(["snapshot", "-q", act, name]).arg(image);
    run(command, "snapshot", image).map(drop)
}

fn output(mut command: Command) -> Result<Output, VmError> {
    let ran = command.env("LC_ALL", "C").output();
    ran.map_err(|source| VmError::Run {
        program: command.get_program().into(),
        source,
    })
}

fn run(command: Command, act: &str, image: &Path) -> Result<Output, VmError> {
    let output = output(command)?;
    if output.status.success() {
        return Ok(output);
    }
    Err(classify(&output, act, image))
}

fn words(output: &Output) -> String {
    let both = [&output.stderr, &output.stdout].map(|b| String::from_utf8_lossy(b).into_owned());
    both.join("\n").trim().to_owned()
}

fn classify(output: &Output, act: &str, image: &Path) -> VmError {
    let stderr = words(output);
    let path = image.to_path_buf();
    let any = |needles: &[&str]| needles.iter().any(|n| stderr.contains(n));
    if any(&["No space left on device", "File too large", "Disk quota"]) {
        return VmError::DiskFull { path };
    }
    // What the qcow2 driver says when the header or a table makes no sense.
    if any(&[
        "not in qcow2 format",
        "corrupt",
        "Unsupported qcow2 version",
        "too large",
        "invalid",
        "Invalid",
        "too small",
        "exceeds",
        "unaligned",
    ]) {
        return VmError::CorruptImage { path, why: stderr };
    }
    VmError::Tool {
        program: "qemu-img".into(),
        act: act.to_owned(),
        status: output.status.to_string(),
        stderr,
    }
}

fn parse_info(json: &[u8]) -> Result<ImageInfo, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Raw {
        virtual_size: u64,
        actual_size: u64,
        full_backing_filename: Option<PathBuf>,
        backing_filename: Option<PathBuf>,
        format_specific: Option<Specific>,
    }
    #[derive(Deserialize)]
    struct Specific {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        #[serde(default)]
        corrupt: bool,
    }
    let raw: Raw = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    Ok(ImageInfo {
        virtual_size: raw.virtual_size,
        actual_size: raw.actual_size,
        backing: raw.full_backing_filename.or(raw.backing_filename),
        corrupt: raw.format_specific.is_some_and(|s| s.data.corrupt),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::find_program;

    const MIB: u64 = 1 << 20;

    fn qemu_img() -> PathBuf {
        find_program("qemu-img", std::env::var_os("PATH").as_deref()).unwrap()
    }

    fn base(dir: &Path) -> PathBuf {
        let path = dir.join("base.qcow2");
        let mut command = Command::new(qemu_img());
        command.args(["create", "-q", "-f", "qcow2"]).arg(&path);
        run(
            {
                command.arg("64M");
                command
            },
            "create",
            &path,
        )
        .unwrap();
        path
    }

    #[test]
    fn an_overlay_is_larger_than_its_base_and_grows_but_never_shrinks() {
        let dir = tempfile::tempdir().unwrap();
        let base = base(dir.path());
        // A name that would be split or taken for options if it were not passed as one word.
        let overlay = dir.path().join("o, size=1 'x.qcow2");
        create(&qemu_img(), &base, &overlay, 128 * MIB).unwrap();
        let seen = info(&qemu_img(), &overlay).unwrap();
        assert_eq!(seen.virtual_size, 128 * MIB);
        assert_eq!(seen.backing.as_deref(), Some(base.as_path()));
        grow(&qemu_img(), &overlay, 256 * MIB).unwrap();
        grow(&qemu_img(), &overlay, 256 * MIB).unwrap();
        assert_eq!(info(&qemu_img(), &overlay).unwrap().virtual_size, 256 * MIB);
        let err = grow(&qemu_img(), &overlay, MIB).unwrap_err();
        assert!(matches!(err, VmError::Shrink { .. }), "{err}");
        assert_eq!(check(&qemu_img(), &overlay).unwrap(), Check::Clean);
        let err = create(&qemu_img(), &base, &overlay, MIB).unwrap_err();
        assert!(matches!(err, VmError::Shrink { .. }), "{err}");
    }

    #[test]
    fn a_disk_goes_back_to_what_it_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (base, img) = (base(dir.path()), qemu_img());
        let overlay = dir.path().join("o.qcow2");
        create(&img, &base, &overlay, 64 * MIB).unwrap();
        let write = |pattern: &str| {
            let write = format!("write -P {pattern} 1M 64k");
            let mut command = Command::new("qemu-io");
            run(
                {
                    command.args(["-f", "qcow2", "-c", &write]).arg(&overlay);
                    command
                },
                "io",
                &overlay,
            )
            .unwrap();
        };
        let holds = |pattern: &str| {
            let read = format!("read -P {pattern} 1M 64k");
            let mut command = Command::new("qemu-io");
            command.args(["-f", "qcow2", "-c", &read]).arg(&overlay);
            let said = output(command).unwrap();
            said.status.success() && !words(&said).contains("verification failed")
        };
        write("0x11");
        snapshot(&img, &overlay, "-c", "first").unwrap();
        write("0x22");
        assert!(keeps(&img, &overlay, "first").unwrap());
        assert!(!keeps(&img, &overlay, "second").unwrap());
        go_back(&img, &overlay, "first").unwrap();
        assert!(holds("0x11"));
        assert!(go_back(&img, &overlay, "second").is_err());
        forget(&img, &overlay, "first").unwrap();
        assert!(!keeps(&img, &overlay, "first").unwrap());
        assert_eq!(check(&img, &overlay).unwrap(), Check::Clean);
    }

    #[test]
    fn damage_is_told_from_absence() {
        let dir = tempfile::tempdir().unwrap();
        let base = base(dir.path());
        let overlay = dir.path().join("o.qcow2");
        let err = info(&qemu_img(), &overlay).unwrap_err();
        assert!(matches!(err, VmError::Missing { .. }), "{err}");

        create(&qemu_img(), &base, &overlay, 64 * MIB).unwrap();
        let mut bytes = std::fs::read(&overlay).unwrap();
        // The magic number.
        bytes[0] = 0;
        std::fs::write(dir.path().join("magic"), &bytes).unwrap();
        let err = info(&qemu_img(), &dir.path().join("magic")).unwrap_err();
        assert!(matches!(err, VmError::CorruptImage { .. }), "{err}");
        // An L1 table far behind the end of the file.
        bytes = std::fs::read(&overlay).unwrap();
        bytes[40..48].copy_from_slice(&(1u64 << 40).to_be_bytes());
        std::fs::write(dir.path().join("table"), &bytes).unwrap();
        let err = check(&qemu_img(), &dir.path().join("table")).unwrap_err();
        assert!(
            matches!(err, VmError::CorruptImage { .. } | VmError::Tool { .. }),
            "{err}"
        );
        // Half a header, as a full disk leaves it.
        std::fs::write(dir.path().join("half"), &bytes[..60]).unwrap();
        assert!(info(&qemu_img(), &dir.path().join("half")).is_err());

        std::fs::remove_file(&base).unwrap();
        let err = check(&qemu_img(), &overlay).unwrap_err();
        assert!(
            matches!(
                err,
                VmError::Missing {
                    what: "base image",
                    ..
                }
            ),
            "{err}"
        );
    }
}
