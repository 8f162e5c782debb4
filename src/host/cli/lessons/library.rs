//! Where lessons lie, and reading them.

use std::path::{Path, PathBuf};

use cadet_tutorial::model::Lesson;
use cadet_tutorial::{Folder, load};

use crate::error::{CliError, Result};
use crate::machine;
use crate::world::World;

/// The folder of all lessons: CADET_TUTORIALS, beside the program, where packages put it, or in
/// the sources the program was built from.
///
/// # Errors
/// LESSON_UNKNOWN when there is none.
pub fn folder(world: &World) -> Result<PathBuf> {
    if let Some(named) = &world.tutorials {
        if named.is_dir() {
            return Ok(named.clone());
        }
        return Err(CliError::new(
            "LESSON_UNKNOWN",
            format!("{} is no folder", named.display()),
        )
        .why("CADET_TUTORIALS names it as the folder of lessons")
        .fix("unset CADET_TUTORIALS"));
    }
    let places = [
        world.programs.join("tutorials"),
        world.programs.join("../share/cadet/tutorials"),
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tutorials"),
    ];
    let found = places.iter().find(|place| place.is_dir()).cloned();
    found.ok_or_else(|| {
        CliError::new("LESSON_UNKNOWN", "there are no lessons on this computer")
            .why(format!("{} would hold them", places[0].display()))
            .fix("CADET_TUTORIALS=/folder/with/lessons cadet tutorial")
    })
}

/// Every folder that holds a lesson, in the order of the list. Lessons of a class that was
/// installed are among them, and stand before Cadet's own of the same name.
///
/// # Errors
/// LESSON_UNKNOWN, HOST_NOT_READABLE.
pub fn folders(world: &World) -> Result<Vec<Folder>> {
    let of_class = world.home.class_lessons();
    if world.tutorials.is_some() || !of_class.is_dir() {
        return below(&folder(world)?);
    }
    let mut all = below(&of_class)?;
    // A computer may have no lessons but those of the class.
    if let Ok(own) = folder(world) {
        for lesson in below(&own)? {
            if !all.iter().any(|l| l.lesson_name() == lesson.lesson_name()) {
                all.push(lesson);
            }
        }
    }
    all.sort_by_key(|f| (f.number().unwrap_or(u32::MAX), f.name.clone()));
    Ok(all)
}

/// Every folder right below `place` that holds a lesson, in the order of a list.
///
/// # Errors
/// HOST_NOT_READABLE.
pub fn below(place: &Path) -> Result<Vec<Folder>> {
    let entries = std::fs::read_dir(place).map_err(|e| machine::io("read", place, &e))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| machine::io("read", place, &e))?.path();
        if path.join("lesson.md").is_file() {
            found.push(read(&path)?);
        }
    }
    found.sort_by_key(|f| (f.number().unwrap_or(u32::MAX), f.name.clone()));
    Ok(found)
}

/// One lesson's folder from the disk.
///
/// # Errors
/// HOST_NOT_READABLE.
pub fn read(path: &Path) -> Result<Folder> {
    Folder::read(path).map_err(|e| {
        CliError::new("HOST_NOT_READABLE", "a lesson cannot be read")
            .why(crate::from_rooms::chain(&e))
            .fix("cadet tutorial lint")
    })
}

/// A sound lesson, or what is wrong with it.
///
/// # Errors
/// LESSON_INVALID with the first mistakes.
pub fn lesson(folder: &Folder) -> Result<Lesson> {
    load::sound(folder).map_err(|findings| {
        let errors = findings.iter().filter(|f| f.is_error());
        let shown: Vec<String> = errors.take(5).map(ToString::to_string).collect();
        let name = folder.lesson_name();
        CliError::new("LESSON_INVALID", format!("lesson {name} has mistakes"))
            .why(shown.join("\n"))
            .fix(format!("cadet tutorial lint {name}"))
    })
}

/// The lesson called `name`: with or without its number, by its number alone, or by the folder
/// of a lesson that is none of Cadet's.
///
/// # Errors
/// LESSON_UNKNOWN with the names there are, LESSON_INVALID.
pub fn find(world: &World, name: &str) -> Result<Lesson> {
    lesson(&find_folder(world, name)?)
}

/// The folder of the lesson called `name`.
///
/// # Errors
/// LESSON_UNKNOWN with the names there are.
pub fn find_folder(world: &World, name: &str) -> Result<Folder> {
    let place = Path::new(name);
    if name.contains(std::path::is_separator) && place.join("lesson.md").is_file() {
        return read(place);
    }
    // An author need not have Cadet's lessons.
    let own = place.join("lesson.md").is_file();
    let mut all = match folders(world) {
        Err(_) if own => Vec::new(),
        found => found?,
    };
    if let Some(place) = all.iter().position(|folder| is_called(folder, name)) {
        return Ok(all.swap_remove(place));
    }
    if own {
        return read(place);
    }
    let names: Vec<&str> = all.iter().map(Folder::lesson_name).collect();
    let error = CliError::new("LESSON_UNKNOWN", format!("there is no lesson {name:?}"));
    Err(match nearest(name, &names) {
        Some(near) => error.fix(format!("cadet tutorial start {near}\ncadet tutorial")),
        None => error.fix("cadet tutorial      lists them"),
    }
    .why(format!("there are {}", names.join(", "))))
}

fn is_called(folder: &Folder, name: &str) -> bool {
    let number = name.parse::<u32>().ok();
    folder.lesson_name() == name
        || folder.name == name
        || (number.is_some() && folder.number() == number)
}

/// The name that was probably meant: the one that begins alike, or shares most of its letters.
fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    let begins = names
        .iter()
        .find(|n| !wanted.is_empty() && (n.starts_with(&wanted) || wanted.starts_with(**n)));
    begins.copied().or_else(|| {
        let far = |n: &str| distance(&wanted, n);
        let best = names.iter().min_by_key(|n| far(n))?;
        (far(best) <= 2).then_some(*best)
    })
}

/// How many letters must be typed, removed or changed (Levenshtein, 1965).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = changed.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_understood() {
        let names = ["telescope", "hello-hapi", "flask"];
        assert_eq!(nearest("telescop", &names), Some("telescope"));
        assert_eq!(nearest("Flsk", &names), Some("flask"));
        assert_eq!(nearest("hello", &names), Some("hello-hapi"));
        assert_eq!(nearest("quantum", &names), None);
        assert_eq!(nearest("", &names), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn lessons_are_called_by_name_or_number() {
        let folder = Folder::from_files("01-telescope", std::collections::BTreeMap::new());
        for name in ["telescope", "01-telescope", "1", "01"] {
            assert!(is_called(&folder, name), "{name}");
        }
        for name in ["2", "tele", ""] {
            assert!(!is_called(&folder, name), "{name}");
        }
    }
}
