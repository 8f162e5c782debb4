//! A bundle from the teacher's files to the learner's, whole and in every state of ruin.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cadet_bundle::{
    Bundle, BundleError, Head, Packing, Plan, Platform, Source, TeacherKey, Written, lesson, unpack,
};

/// Bytes that no compression makes smaller: a xorshift generator (Marsaglia, 2003).
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Bytes like those of a program.
fn program(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i / 7 % 61) as u8).collect()
}

struct School {
    dir: tempfile::TempDir,
    key: TeacherKey,
    sources: Vec<Source>,
}

impl School {
    fn new() -> School {
        let dir = tempfile::tempdir().unwrap();
        let key = TeacherKey::load_or_make(&dir.path().join("key")).unwrap();
        let files = BTreeMap::from([("lesson.md".to_owned(), b"# A\n".to_vec())]);
        let mut school = School {
            dir,
            key,
            sources: Vec::new(),
        };
        let here = Platform::here();
        let arch = here.arch().to_owned();
        school.add("lesson/01-a", &lesson::pack("a", &files).unwrap());
        school.add(&format!("base/{arch}/root.qcow2"), &noise(700_000, 5));
        school.add(&format!("base/{arch}/vmlinuz"), &noise(9_000, 6));
        school.add(&format!("guest/{arch}/cadet-node"), &program(900_000));
        school.add(&format!("host/{here}/cadet"), &program(500_000));
        school.add(&format!("host/{here}/kubectl"), &program(500_000));
        school.add(&format!("host/{here}/nothing"), b"");
        school
    }

    fn add(&mut self, place: &str, bytes: &[u8]) {
        let file = self.dir.path().join(format!("in-{}", self.sources.len()));
        std::fs::write(&file, bytes).unwrap();
        let place = place.parse().unwrap();
        self.sources.push(Source { place, file });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, limit: Option<u64>) -> Result<Written, BundleError> {
        let plan = Plan {
            class: "Tuesday".into(),
            cadet: "0.1.0".into(),
            image: "debian-13".into(),
            lessons: vec!["a".into()],
            sources: self.sources.clone(),
        };
        let work = self.path("work");
        std::fs::create_dir_all(&work).unwrap();
        let mut last = 0;
        let written = cadet_bundle::write(
            plan,
            &self.key,
            &work,
            &self.path(name),
            limit,
            &mut |what, done, total| {
                assert!(done <= total, "{what}");
                if what == "writing" {
                    last = done;
                }
            },
        )?;
        assert_eq!(last, written.head.total());
        Ok(written)
    }
}

/// Unpacks everything; what came out by place.
fn take(bundle: &Bundle, into: &Path) -> Result<BTreeMap<String, Vec<u8>>, BundleError> {
    let mut taken = BTreeMap::new();
    for entry in &bundle.head.manifest.entries {
        let piece = &bundle.head.manifest.pieces[entry.piece];
        let range = bundle.head.range(entry.piece);
        let to = into.join(&piece.sha256);
        let shown = entry.place.to_string();
        let open = || Ok(bundle.volume.reader(range.clone()));
        unpack(piece, &shown, open, &to, &mut |_| {})?;
        taken.insert(shown, std::fs::read(&to).unwrap());
    }
    Ok(taken)
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[test]
fn what_goes_in_comes_out() {
    let school = School::new();
    let written = school.write("x.cadet", None).unwrap();
    let bundle = Bundle::open(&school.path("x.cadet")).unwrap();
    assert_eq!(bundle.head, written.head);
    let out = tempfile::tempdir().unwrap();
    let taken = take(&bundle, out.path()).unwrap();
    assert_eq!(taken.len(), school.sources.len());
    for source in &school.sources {
        let bytes = std::fs::read(&source.file).unwrap();
        assert!(
            taken[&source.place.to_string()] == bytes,
            "{}",
            source.place
        );
    }
    // cadet and kubectl have the same bytes here: one piece for both.
    let manifest = &bundle.head.manifest;
    assert_eq!(manifest.pieces.len(), manifest.entries.len() - 1);
    assert_eq!(files(out.path()), manifest.pieces.len());
    for entry in &manifest.entries {
        let plain = manifest.pieces[entry.piece].packing == Packing::Plain;
        let shown = entry.place.to_string();
        let expected = shown.starts_with("base/") || shown.ends_with("/nothing");
        assert_eq!(plain, expected, "{shown}");
    }
    assert!(bundle.volume.size() < 750_000, "{}", bundle.volume.size());
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let mut school = School::new();
    school.write("x.cadet", None).unwrap();
    school.sources.reverse();
    school.write("y.cadet", None).unwrap();
    let parts = school.write("z.cadet", Some(200_000)).unwrap().files;
    let whole = std::fs::read(school.path("x.cadet")).unwrap();
    assert!(whole == std::fs::read(school.path("y.cadet")).unwrap());
    assert_eq!(parts.len(), whole.len().div_ceil(200_000));
    let joined: Vec<u8> = parts
        .iter()
        .flat_map(|part| std::fs::read(part).unwrap())
        .collect();
    assert!(whole == joined);
    let bundle = Bundle::open(&school.path("z.cadet.001")).unwrap();
    let out = tempfile::tempdir().unwrap();
    take(&bundle, out.path()).unwrap();
}

#[test]
fn every_altered_piece_is_named_and_nothing_of_it_stays() {
    let school = School::new();
    school.write("x.cadet", None).unwrap();
    let sound = std::fs::read(school.path("x.cadet")).unwrap();
    let head = Bundle::open(&school.path("x.cadet")).unwrap().head;
    for (index, piece) in head.manifest.pieces.iter().enumerate() {
        if piece.packed_size == 0 {
            continue;
        }
        let range = head.range(index);
        for at in [range.start, range.end - 1] {
            let mut bytes = sound.clone();
            bytes[usize::try_from(at).unwrap()] ^= 0x40;
            std::fs::write(school.path("bad.cadet"), bytes).unwrap();
            let bundle = Bundle::open(&school.path("bad.cadet")).unwrap();
            let out = tempfile::tempdir().unwrap();
            let error = take(&bundle, out.path()).unwrap_err();
            let first = head.manifest.entries.iter().find(|e| e.piece == index);
            let place = first.unwrap().place.to_string();
            assert!(
                matches!(&error, BundleError::Tampered { piece } if *piece == place),
                "{place}: {error}"
            );
            assert!(!out.path().join(&piece.sha256).exists());
            let left = std::fs::read_dir(out.path()).unwrap();
            let half = left.filter(|e| {
                let name = e.as_ref().unwrap().file_name();
                name.to_string_lossy().ends_with(".partial")
            });
            assert_eq!(half.count(), 0);
        }
    }
}

#[test]
fn a_strangers_signature_is_not_the_teachers() {
    let school = School::new();
    school.write("x.cadet", None).unwrap();
    let path = school.path("x.cadet");
    let bundle = Bundle::open(&path).unwrap();
    // A stranger who signs a manifest of his own makes a sound bundle with another key.
    let stranger = TeacherKey::load_or_make(&school.path("stranger")).unwrap();
    let mut bytes = Head::write(&bundle.head.manifest, &stranger).unwrap();
    let sound = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(&sound[usize::try_from(bundle.head.length).unwrap()..]);
    std::fs::write(&path, &bytes).unwrap();
    let other = Bundle::open(&path).unwrap();
    assert_ne!(other.head.key.fingerprint(), bundle.head.key.fingerprint());
    // With the teacher's key written over his own, the signature does not fit.
    bytes[16..48].copy_from_slice(&sound[16..48]);
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(Bundle::open(&path), Err(BundleError::Signature)));
}

#[test]
fn a_bundle_cut_anywhere_is_cut_short() {
    let school = School::new();
    school.write("x.cadet", None).unwrap();
    let sound = std::fs::read(school.path("x.cadet")).unwrap();
    for length in [20, 300, sound.len() / 2, sound.len() - 1] {
        std::fs::write(school.path("cut.cadet"), &sound[..length]).unwrap();
        let error = Bundle::open(&school.path("cut.cadet")).unwrap_err();
        assert!(
            matches!(&error, BundleError::Truncated { has, .. } if *has == length as u64),
            "{length}: {error}"
        );
    }
    let parts = school.write("z.cadet", Some(200_000)).unwrap().files;
    let last = parts.last().unwrap();
    std::fs::remove_file(last).unwrap();
    let error = Bundle::open(&parts[0]).unwrap_err();
    assert!(
        matches!(&error, BundleError::Part { path } if path == last),
        "{error}"
    );
}

#[test]
fn what_is_there_is_not_written_again_and_what_is_damaged_is() {
    let school = School::new();
    school.write("x.cadet", None).unwrap();
    let bundle = Bundle::open(&school.path("x.cadet")).unwrap();
    let out = tempfile::tempdir().unwrap();
    let first = take(&bundle, out.path()).unwrap();
    let times = |dir: &Path| -> BTreeMap<PathBuf, std::time::SystemTime> {
        let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
        entries
            .map(|e| (e.path(), e.metadata().unwrap().modified().unwrap()))
            .collect()
    };
    let before = times(out.path());
    assert!(take(&bundle, out.path()).unwrap() == first);
    assert_eq!(times(out.path()), before);
    let damaged = out.path().join(&bundle.head.manifest.pieces[0].sha256);
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    assert!(take(&bundle, out.path()).unwrap() == first);
}

#[test]
fn a_file_that_is_no_bundle_is_not_written_over() {
    let school = School::new();
    std::fs::write(school.path("thesis.cadet"), "years of work").unwrap();
    let refused = school.write("thesis.cadet", None);
    assert!(matches!(refused, Err(BundleError::Occupied { .. })));
    let text = std::fs::read_to_string(school.path("thesis.cadet")).unwrap();
    assert_eq!(text, "years of work");
}

#[test]
fn a_decoder_bomb_stops_at_the_signed_size() {
    let school = School::new();
    let bomb = vec![0; 50_000_000];
    let packed = zstd::bulk::compress(&bomb, 1).unwrap();
    let piece = cadet_bundle::Piece {
        size: 1000,
        sha256: cadet_bundle::digest::of(&bomb[..1000]),
        packing: Packing::Zstd,
        packed_size: packed.len() as u64,
        packed_sha256: cadet_bundle::digest::of(&packed),
    };
    let to = school.path("bomb");
    let mut most = 0;
    let error = unpack(&piece, "bomb", || Ok(packed.as_slice()), &to, &mut |n| {
        most = n
    });
    assert!(
        matches!(error, Err(BundleError::Tampered { .. })),
        "{error:?}"
    );
    assert!(most <= 1001, "{most}");
    assert!(!to.exists());
}
