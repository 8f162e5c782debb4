//! A disk that becomes full: the file size limit of the process plays the disk. It is a limit of
//! the whole process, so this test has a program of its own.
#![cfg(unix)]

use cadet_bundle::{Bundle, BundleError, Plan, Source, TeacherKey, unpack};

fn limit(bytes: libc::rlim_t) {
    // SAFETY: the struct is plain data; SIGXFSZ is ignored so that the write fails instead.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let limit = libc::rlimit {
            rlim_cur: bytes,
            rlim_max: libc::RLIM_INFINITY,
        };
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let key = TeacherKey::load_or_make(&dir.path().join("key")).unwrap();
    let file = dir.path().join("in");
    let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i / 9 % 50) as u8).collect();
    std::fs::write(&file, &bytes).unwrap();
    let plan = || Plan {
        class: "Tuesday".into(),
        cadet: "0.1.0".into(),
        image: "debian-13".into(),
        lessons: Vec::new(),
        sources: vec![Source {
            place: "guest/amd64/cadet-node".parse().unwrap(),
            file: file.clone(),
        }],
    };
    let work = dir.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let to = dir.path().join("x.cadet");
    let write = || cadet_bundle::write(plan(), &key, &work, &to, None, &mut |_, _, _| {});

    limit(400);
    let refused = write().unwrap_err();
    limit(libc::RLIM_INFINITY);
    assert!(matches!(refused, BundleError::DiskFull { .. }), "{refused}");
    assert!(!to.exists() && !dir.path().join("x.cadet.partial").exists());

    write().unwrap();
    let bundle = Bundle::open(&to).unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let piece = &bundle.head.manifest.pieces[0];
    let open = || Ok(bundle.volume.reader(bundle.head.range(0)));
    let place = out.join("cadet-node");
    limit(1_000_000);
    let refused = unpack(piece, "cadet-node", open, &place, &mut |_| {}).unwrap_err();
    limit(libc::RLIM_INFINITY);
    assert!(matches!(refused, BundleError::DiskFull { .. }), "{refused}");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);

    unpack(piece, "cadet-node", open, &place, &mut |_| {}).unwrap();
    assert!(std::fs::read(&place).unwrap() == bytes);
}
