//! A lent folder as the machine sees it, and what it must not see.

use super::*;

struct Lent {
    dir: tempfile::TempDir,
    folder: Folder,
}

fn lent(read_only: bool) -> Lent {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("lent");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a"), "hello").unwrap();
    fs::write(dir.path().join("secret"), "not lent").unwrap();
    let folder = Folder::open(&root, read_only).unwrap();
    Lent { dir, folder }
}

impl Lent {
    fn ask(&self, ask: Ask) -> Answer {
        self.folder.answer(&ask, b"").0
    }

    fn read(&self, path: &str, offset: u64) -> Result<Vec<u8>, Trouble> {
        let path = path.to_owned();
        let ask = Ask::Read {
            path,
            offset,
            size: 100,
        };
        match self.folder.answer(&ask, b"") {
            (Answer::Data, data) => Ok(data),
            (Answer::Failed { trouble }, _) => Err(trouble),
            other => panic!("{other:?}"),
        }
    }

    fn trouble(&self, ask: Ask) -> Trouble {
        match self.ask(ask) {
            Answer::Failed { trouble } => trouble,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_file_lives_its_life() {
    let lent = lent(false);
    let path = || "sub/b".to_owned();
    let made = lent.ask(Ask::MakeFolder {
        path: "sub".into(),
        mode: 0o755,
    });
    assert!(matches!(made, Answer::Facts { facts } if facts.kind == Kind::Folder));
    lent.ask(Ask::Create {
        path: path(),
        mode: 0o640,
    });
    let write = Ask::Write {
        path: path(),
        offset: 2,
    };
    assert_eq!(lent.folder.answer(&write, b"xyz").0, Answer::Done);
    assert_eq!(lent.read("sub/b", 1).unwrap(), b"\0xyz");
    assert_eq!(lent.read("sub/b", 99).unwrap(), b"");
    let changed = lent.ask(Ask::Change {
        path: path(),
        size: Some(3),
        mode: Some(0o600),
        modified: Some((1000, 5)),
    });
    let Answer::Facts { facts } = changed else {
        panic!("{changed:?}");
    };
    assert_eq!(
        (facts.size, facts.mode, facts.modified),
        (3, 0o600, (1000, 5))
    );
    let full = Ask::RemoveFolder { path: "sub".into() };
    assert_eq!(lent.trouble(full), Trouble::NotEmpty);
    let rename = |keep| Ask::Rename {
        from: path(),
        to: "a".into(),
        keep,
    };
    assert_eq!(lent.trouble(rename(true)), Trouble::Exists);
    assert_eq!(lent.ask(rename(false)), Answer::Done);
    let names = lent.ask(Ask::List {
        path: String::new(),
    });
    let Answer::Names { names } = names else {
        panic!("{names:?}");
    };
    let names: Vec<_> = names.iter().map(|n| (n.name.as_str(), n.kind)).collect();
    assert_eq!(names, [("a", Kind::File), ("sub", Kind::Folder)]);
}

#[test]
fn nothing_outside_is_read_or_written() {
    let lent = lent(false);
    let root = &lent.folder.root;
    std::os::unix::fs::symlink(lent.dir.path(), root.join("out")).unwrap();
    std::os::unix::fs::symlink("../secret", root.join("file")).unwrap();
    for path in [
        "../secret",
        "..",
        "out/secret",
        "file",
        "/etc/passwd",
        "sub/../../secret",
        "out/../secret",
        "a/",
        "a/.",
    ] {
        assert!(lent.read(path, 0).is_err(), "{path}");
        let create = Ask::Create {
            path: path.into(),
            mode: 0o600,
        };
        assert!(matches!(lent.ask(create), Answer::Failed { .. }), "{path}");
        let change = Ask::Change {
            path: path.into(),
            size: Some(0),
            mode: Some(0o777),
            modified: None,
        };
        // Of a link nothing is changed, and that is no failure.
        lent.ask(change);
    }
    let secret = fs::read_to_string(lent.dir.path().join("secret")).unwrap();
    assert_eq!(secret, "not lent");
    let target = lent.ask(Ask::Target {
        path: "file".into(),
    });
    assert!(matches!(target, Answer::Target { target } if target == "../secret"));
    let gone = lent.ask(Ask::Remove { path: "out".into() });
    assert_eq!(gone, Answer::Done, "the link, not what it leads to");
    assert!(lent.dir.path().join("secret").exists());
}

#[test]
fn a_folder_that_is_lent_to_be_read_stays_as_it_is() {
    let lent = lent(true);
    assert_eq!(lent.read("a", 0).unwrap(), b"hello");
    let remove = Ask::Remove { path: "a".into() };
    assert_eq!(lent.trouble(remove), Trouble::ReadOnly);
    let write = Ask::Write {
        path: "a".into(),
        offset: 0,
    };
    assert!(matches!(lent.ask(write), Answer::Failed { .. }));
    assert_eq!(lent.read("a", 0).unwrap(), b"hello");
}

#[test]
fn serving_ends_with_the_line() {
    let lent = lent(false);
    let mut asks = Vec::new();
    put(&mut asks, &Ask::Look { path: "a".into() }, b"").unwrap();
    put(&mut asks, &Ask::Look { path: "b".into() }, b"").unwrap();
    let mut answers = Vec::new();
    let mut count = 0;
    let serving = lent
        .folder
        .serve(&mut &asks[..], &mut answers, || count += 1);
    serving.unwrap();
    assert_eq!(count, 2);
    let mut answers = &answers[..];
    let (first, _) = take::<Answer>(&mut answers).unwrap().unwrap();
    assert!(matches!(first, Answer::Facts { facts } if facts.size == 5));
    let (second, _) = take::<Answer>(&mut answers).unwrap().unwrap();
    let trouble = Trouble::NotFound;
    assert_eq!(second, Answer::Failed { trouble });
}
