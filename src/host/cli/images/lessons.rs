//! The images of lessons: their sets by name, and putting them into the cluster.
//!
//! The table is data (images/lessons.yaml). What an image is made of travels to the guest
//! with the seed (`contexts`), and the guest pulls or builds (`cadet-node images`); here the
//! names are turned into images, and what the guest tells is passed on.

use std::collections::BTreeMap;

use cadet_api::install::LessonImage;
use cadet_tunnel::{Tunnel, exec};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::error::{CliError, Result};

const TABLE: &str = include_str!("../../../../images/lessons.yaml");
/// Root in the guest: the program talks to Docker and unpacks packages.
const COMMAND: &str = "sudo -n /usr/local/bin/cadet-node images --";
/// Bytes of the guest's words that wait for us; a full pipe makes it wait.
const PIPE: usize = 16 << 10;

/// images/lessons.yaml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Book {
    sets: BTreeMap<String, Vec<String>>,
    images: Vec<LessonImage>,
}

fn book() -> Result<Book> {
    serde_saphyr::from_str(TABLE).map_err(|e| {
        CliError::new("PROGRAM_INTERNAL", "images/lessons.yaml cannot be read").why(e.to_string())
    })
}

/// The sets that a lesson may name: for each its images, perhaps with the words their
/// containers run with.
///
/// # Errors
/// PROGRAM_INTERNAL if the table of this program is damaged.
pub fn sets() -> Result<BTreeMap<String, Vec<String>>> {
    Ok(book()?.sets)
}

/// How nodes make or replace images.
///
/// # Errors
/// As [`sets`].
pub fn table() -> Result<Vec<LessonImage>> {
    Ok(book()?.images)
}

/// The images of these sets, each once, in the order of the names.
fn wishes(names: &[String]) -> Result<Vec<String>> {
    let sets = sets()?;
    let mut wishes: Vec<String> = Vec::new();
    for name in names {
        let Some(images) = sets.get(name) else {
            let known: Vec<_> = sets.keys().map(String::as_str).collect();
            return Err(CliError::new(
                "IMAGE_UNKNOWN",
                format!("no lesson has images called {name:?}"),
            )
            .why(format!("there are: {}", known.join(", "))));
        };
        for image in images {
            if !wishes.contains(image) {
                wishes.push(image.clone());
            }
        }
    }
    Ok(wishes)
}

/// Puts the images of these sets into the Docker Engine at the other end of `session`:
/// pulled where a registry answers, else built from what the machine carries. `progress` hears
/// what is being done. Returns a sentence for each image that something else stands in for.
///
/// Every node of a cluster has its own engine, so call it for each session. What is there
/// already costs a second.
///
/// # Errors
/// IMAGE_UNKNOWN for a name that is no set; IMAGE_LESSON if an image can neither be had nor
/// built; the session's errors.
pub async fn lesson_images(
    session: &Tunnel,
    names: &[String],
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<Vec<String>> {
    let wishes = wishes(names)?;
    if wishes.is_empty() {
        return Ok(Vec::new());
    }
    let words = exec::quote_all(wishes.iter().map(String::as_str));
    let command = format!("{COMMAND} {words}");
    let (near, far) = tokio::io::duplex(PIPE);
    let mut errors = Vec::new();
    let running = session.exec_streams(&command, tokio::io::empty(), far, &mut errors);
    let listening = async {
        let mut instead = Vec::new();
        let mut lines = BufReader::new(near).lines();
        // Only text that is not UTF-8 fails; the guest writes none, and the program's own
        // result is what counts.
        while let Ok(Some(line)) = lines.next_line().await {
            match line.split_once(' ') {
                Some(("instead", text)) => {
                    progress(text);
                    instead.push(text.to_owned());
                }
                Some(("doing" | "done", text)) => progress(text),
                _ => {}
            }
        }
        instead
    };
    let (status, instead) = tokio::join!(running, listening);
    let status = status?;
    if status.success() {
        return Ok(instead);
    }
    let said = String::from_utf8_lossy(&errors);
    let last = said.trim_end().lines().next_back().unwrap_or_default();
    let why = last.strip_prefix("cadet-node: ").unwrap_or(last);
    let why = if why.is_empty() {
        status.to_string()
    } else {
        why.to_owned()
    };
    Err(CliError::new(
        "IMAGE_LESSON",
        "an image of the lesson can neither be pulled nor built",
    )
    .why(why)
    .fix("cadet image lesson      tries again"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::contexts;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn every_set_is_made_of_images_of_the_table() {
        let book = book().unwrap();
        for name in ["telescope", "mongo", "hello", "nginx", "busybox", "python"] {
            assert!(book.sets.contains_key(name), "{name}");
        }
        for (set, images) in &book.sets {
            assert!(!images.is_empty(), "{set}");
            for image in images {
                let image = image.split(' ').next().unwrap();
                let (path, tag) = image.split_once(':').unwrap_or((image, "latest"));
                let repository = match path.split_once('/') {
                    Some(_) => format!("docker.io/{path}"),
                    None => format!("docker.io/library/{path}"),
                };
                let listed = book.images.iter().any(|entry| {
                    entry.repository == repository && entry.tags.iter().any(|t| t == tag)
                });
                assert!(listed, "{set}: {image} works without a registry");
            }
        }
    }

    #[test]
    fn every_image_has_a_context_that_travels() {
        for entry in table().unwrap() {
            assert!(
                contexts::names().any(|name| name == entry.context),
                "{}",
                entry.context
            );
            assert!(!(entry.always && entry.own), "{}", entry.repository);
            assert!(entry.says.ends_with('.'), "{}", entry.says);
        }
    }

    #[test]
    fn sets_are_put_together_and_unknown_ones_named() {
        assert_eq!(wishes(&[]).unwrap(), Vec::<String>::new());
        assert_eq!(
            wishes(&names(&["mongo", "nginx", "mongo"])).unwrap(),
            ["mongo --smallfiles --nojournal", "nginx"]
        );
        let error = wishes(&names(&["nginx", "ngnix"])).unwrap_err();
        assert_eq!(error.topic.id, "IMAGE_UNKNOWN");
        assert!(error.why.unwrap().contains("nginx, python, telescope"));
    }
}
