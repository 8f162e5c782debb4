//! The words of kubectl, as far as lint must know them: the verb, what changes the cluster, what
//! does not end by itself, which words are files.

/// A kubectl command taken apart.
#[derive(Debug, Default)]
pub(crate) struct Kubectl<'a> {
    /// `create`, `get`, `rollout` …; "" where there is none.
    pub verb: &'a str,
    /// The word after the verb, where it is no flag: `status` of `rollout status`.
    pub second: &'a str,
    pub flags: Vec<(&'a str, Option<&'a str>)>,
    /// Words that are neither flags nor their values, verb included.
    pub words: Vec<&'a str>,
}

/// Flags whose value is the next word, of all verbs lessons use.
const VALUED: &[&str] = &[
    "-n",
    "--namespace",
    "-f",
    "--filename",
    "-k",
    "--kustomize",
    "-o",
    "--output",
    "-l",
    "--selector",
    "-c",
    "--container",
    "-p",
    "--patch",
    "-s",
    "--server",
    "--context",
    "--kubeconfig",
    "--cluster",
    "--user",
    "--token",
    "--as",
    "--as-group",
    "--field-selector",
    "--image",
    "--port",
    "--target-port",
    "--name",
    "--type",
    "--replicas",
    "--labels",
    "--from-literal",
    "--from-file",
    "--from-env-file",
    "--env-file",
    "--env",
    "--patch-file",
    "--timeout",
    "--for",
    "--sort-by",
    "--template",
    "--schedule",
    "--restart",
    "--requests",
    "--limits",
    "--min",
    "--max",
    "--cpu",
    "--cpu-percent",
    "--tail",
    "--since",
    "--protocol",
    "--verb",
    "--resource",
    "--resource-name",
    "--role",
    "--clusterrole",
    "--serviceaccount",
    "--group",
    "--to-revision",
    "--revision",
    "--grace-period",
    "--hard",
    "--overrides",
    "--cert",
    "--key",
    "--rule",
    "--class",
    "--tcp",
    "--address",
    "--request-timeout",
    "-v",
    "--field-manager",
    "--subresource",
    "--node-port",
    "--cluster-ip",
    "--external-name",
    "--service-account",
    "--profile",
    "--target",
    "--duration",
    "--audience",
    "--value",
    "--description",
    "--default-backend",
    "--docker-server",
    "--docker-username",
    "--docker-password",
    "--raw",
    "--current-replicas",
    "--resource-version",
    "--pod-selector",
    "--max-unavailable",
    "--min-available",
    "-L",
    "--label-columns",
    "--chunk-size",
    "--api-group",
    "--api-version",
    "--categories",
    "--user-agent",
    "--image-pull-policy",
    "--generator",
    "--from",
    "--copy-to",
];

/// Flags that never take the next word, although others that look like them do.
const BARE_AFTER: &[(&str, &str)] = &[("logs", "-f"), ("logs", "-p")];

impl<'a> Kubectl<'a> {
    /// Takes the words after `kubectl` apart.
    pub fn of(arguments: &'a [String]) -> Kubectl<'a> {
        let mut out = Kubectl::default();
        let mut words = arguments.iter().map(String::as_str);
        while let Some(word) = words.next() {
            if word == "--" {
                break;
            }
            if !word.starts_with('-') || word == "-" {
                match out.words.len() {
                    0 => out.verb = word,
                    1 => out.second = word,
                    _ => {}
                }
                out.words.push(word);
                continue;
            }
            if let Some((flag, value)) = word.split_once('=').filter(|(f, _)| f.starts_with('-')) {
                out.flags.push((flag, Some(value)));
                continue;
            }
            let bare = BARE_AFTER.contains(&(out.verb, word));
            if VALUED.contains(&word) && !bare {
                out.flags.push((word, words.next()));
            } else if let Some(value) = glued(word) {
                out.flags.push((&word[..2], Some(value)));
            } else {
                out.flags.push((word, None));
            }
        }
        out
    }

    pub fn has(&self, names: &[&str]) -> bool {
        self.flags
            .iter()
            .any(|(flag, value)| names.contains(flag) && value.is_none_or(|value| value != "false"))
    }

    /// Whether the cluster is another one afterwards.
    pub fn changes(&self) -> bool {
        if self.has(&["--dry-run"]) {
            return self.flags.contains(&("--dry-run", Some("none")));
        }
        match self.verb {
            "create" => !matches!(self.second, "token"),
            "apply" => !matches!(self.second, "view-last-applied"),
            "rollout" => !matches!(self.second, "status" | "history"),
            "set" | "delete" | "run" | "expose" | "scale" | "patch" | "edit" | "replace"
            | "label" | "annotate" | "taint" | "cordon" | "uncordon" | "drain" | "autoscale"
            | "cp" | "debug" | "certificate" => true,
            _ => false,
        }
    }

    /// Whether it goes on until somebody ends it.
    pub fn endless(&self) -> bool {
        match self.verb {
            "port-forward" | "proxy" => true,
            "get" => self.has(&["-w", "--watch", "--watch-only"]),
            "events" => self.has(&["-w", "--watch"]),
            "logs" => self.has(&["-f", "--follow"]),
            "attach" => true,
            _ => false,
        }
    }

    /// The files and folders it reads: word, and whether it must be a folder.
    pub fn files(&self) -> Vec<(&'a str, bool)> {
        let mut out = Vec::new();
        for (flag, value) in &self.flags {
            let Some(value) = *value else {
                continue;
            };
            match *flag {
                "-f" | "--filename" if self.verb != "logs" => {
                    out.extend(value.split(',').map(|file| (file, false)));
                }
                "-k" | "--kustomize" => out.push((value, true)),
                "--from-env-file" | "--env-file" | "--patch-file" | "--cert" | "--key" => {
                    out.push((value, false));
                }
                "--from-file" => {
                    let file = value.split_once('=').map_or(value, |(_, file)| file);
                    out.push((file, false));
                }
                _ => {}
            }
        }
        // Only what is copied out of the folder must be there.
        if self.verb == "cp" && !self.second.contains(':') && !self.second.starts_with('/') {
            out.push((self.second, false));
        }
        out
    }
}

/// `-nspace`, `-oyaml`, `-lapp`: the value of a short flag without a space. `-it` is two flags.
fn glued(word: &str) -> Option<&str> {
    let letter = word.strip_prefix('-')?;
    let known = letter.starts_with(['n', 'o', 'f', 'l', 'c', 'k', 'p']);
    let sound = !letter.starts_with('-') && letter.len() > 1 && known;
    sound.then(|| &letter[1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        crate::command::split(text).unwrap()
    }

    #[test]
    fn verbs_are_found_behind_flags() {
        for (text, verb, changes, endless) in [
            ("-n space get pods", "get", false, false),
            ("get pods -w", "get", false, true),
            ("get pods --watch=false", "get", false, false),
            ("logs -f web", "logs", false, true),
            ("logs -p web", "logs", false, false),
            ("create -f a.yaml", "create", true, false),
            ("create token x", "create", false, false),
            (
                "create deployment x --dry-run=client -o yaml",
                "create",
                false,
                false,
            ),
            ("rollout status deployment/web", "rollout", false, false),
            ("rollout undo deployment/web", "rollout", true, false),
            ("port-forward pod/web 8080:80", "port-forward", false, true),
            ("exec web -- rm -rf x", "exec", false, false),
        ] {
            let words = words(text);
            let kubectl = Kubectl::of(&words);
            assert_eq!(kubectl.verb, verb, "{text}");
            assert_eq!(kubectl.changes(), changes, "{text}");
            assert_eq!(kubectl.endless(), endless, "{text}");
        }
    }

    #[test]
    fn files_are_found_in_every_form() {
        for (text, files) in [
            (
                "apply -f a.yaml -f=b.yaml --filename=c.yaml",
                vec!["a.yaml", "b.yaml", "c.yaml"],
            ),
            ("apply -fa.yaml", vec!["a.yaml"]),
            ("apply -k over", vec!["over"]),
            ("apply -f a.yaml,b.yaml", vec!["a.yaml", "b.yaml"]),
            (
                "create configmap c --from-file=key=a.txt --from-file b.txt",
                vec!["a.txt", "b.txt"],
            ),
            ("cp a.txt web:/tmp/a.txt", vec!["a.txt"]),
            ("cp web:/tmp/a.txt b.txt", vec![]),
            ("logs -f web", vec![]),
        ] {
            let words = words(text);
            let found: Vec<&str> = Kubectl::of(&words)
                .files()
                .iter()
                .map(|(f, _)| *f)
                .collect();
            assert_eq!(found, files, "{text}");
        }
    }
}
