//! What a server gets that somebody had already: the pieces of a machine's seed that make a node
//! of it, and none that is about the machine itself.

use std::collections::BTreeMap;

use crate::document::check_hostname;
use crate::machine::{AGENT_UNIT, INSTALL, Lesson, SERVER_UNIT, check_file_name};
use crate::{Result, SeedError};

/// One server's part.
pub struct Server<'a> {
    /// The program.
    pub cadet_node: &'a [u8],
    /// `node.json`.
    pub node_config: &'a str,
    /// `up.json`, by which `cadet-node down` knows what to take back.
    pub record: &'a str,
    /// `lessons.json`.
    pub lessons_table: &'a str,
    /// Build contexts of lesson images.
    pub lessons: Vec<Lesson<'a>>,
    /// What an agent alone proves itself with, PEM files by their names; the first server makes
    /// its own.
    pub pki: Option<&'a BTreeMap<String, String>>,
}

impl Server<'_> {
    /// Names and contents of the files; `install.sh` among them puts the others in place.
    ///
    /// # Errors
    /// [`SeedError::BadValue`] for a name that could lead out of its folder.
    pub fn files(&self) -> Result<Vec<(String, &[u8])>, SeedError> {
        let mut files: Vec<(String, &[u8])> = vec![
            ("install.sh".into(), INSTALL.as_bytes()),
            ("up.json".into(), self.record.as_bytes()),
            ("node.json".into(), self.node_config.as_bytes()),
            ("lessons.json".into(), self.lessons_table.as_bytes()),
        ];
        let mut units = vec![AGENT_UNIT];
        match self.pki {
            None => units.push(SERVER_UNIT),
            Some(pki) => {
                for (name, pem) in pki {
                    check_file_name(name)?;
                    files.push((format!("pki/{name}"), pem.as_bytes()));
                }
            }
        }
        for (name, text) in units {
            files.push((format!("units/{name}"), text.as_bytes()));
        }
        for lesson in &self.lessons {
            check_hostname(lesson.name)?;
            files.push((format!("lessons/{}.tar", lesson.name), lesson.tar));
        }
        files.push(("cadet-node".into(), self.cadet_node));
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(pki: Option<&BTreeMap<String, String>>) -> Server<'_> {
        Server {
            cadet_node: b"program",
            node_config: "{}",
            record: "{}",
            lessons_table: "[]",
            lessons: vec![Lesson {
                name: "telescope",
                tar: b"tar",
            }],
            pki,
        }
    }

    fn names(server: &Server<'_>) -> Vec<String> {
        let files = server.files().unwrap();
        files.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn the_first_server_runs_both_and_no_keeper_of_clocks() {
        assert_eq!(
            names(&server(None)),
            [
                "install.sh",
                "up.json",
                "node.json",
                "lessons.json",
                "units/cadet-agent.service",
                "units/cadet-server.service",
                "lessons/telescope.tar",
                "cadet-node",
            ]
        );
    }

    #[test]
    fn a_worker_runs_an_agent_with_keys_that_were_made_for_it() {
        let mut pki = BTreeMap::from([("node.key".to_owned(), "pem".to_owned())]);
        let names = names(&server(Some(&pki)));
        assert!(names.contains(&"pki/node.key".to_owned()), "{names:?}");
        assert!(!names.contains(&"units/cadet-server.service".to_owned()));
        pki.insert("../x.key".into(), String::new());
        assert!(server(Some(&pki)).files().is_err());
    }
}
