//! Which container of a pod a request is about.

use cadet_api::json;
use cadet_api::status::Status;
use serde_json::Value;

/// The container asked for, or the only one there is.
pub fn container_of(pod: &Value, asked: Option<&str>) -> Result<String, Status> {
    let name = json::str_at(pod, "/metadata/name");
    let names = |path: &str| -> Vec<&str> {
        json::list_at(pod, path)
            .iter()
            .map(|c| json::str_at(c, "/name"))
            .collect()
    };
    let main = names("/spec/containers");
    let init = names("/spec/initContainers");
    let ephemeral = names("/spec/ephemeralContainers");
    if let Some(asked) = asked {
        if [&main, &init, &ephemeral]
            .iter()
            .any(|list| list.contains(&asked))
        {
            return Ok(asked.to_owned());
        }
        return Err(Status::bad_request(format!(
            "container {asked} is not valid for pod {name}"
        )));
    }
    if let [one] = main.as_slice() {
        return Ok((*one).to_owned());
    }
    let mut text = format!(
        "a container name must be specified for pod {name}, choose one of: [{}]",
        main.join(" ")
    );
    for (list, kind) in [(init, "init"), (ephemeral, "ephemeral")] {
        if !list.is_empty() {
            text.push_str(&format!(
                " or one of the {kind} containers: [{}]",
                list.join(" ")
            ));
        }
    }
    Err(Status::bad_request(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(pod: &Value, asked: Option<&str>) -> String {
        container_of(pod, asked).expect_err("refused").message
    }

    #[test]
    fn the_container_is_named_or_the_only_one() {
        let pod = json!({"metadata": {"name": "p"},
            "spec": {"containers": [{"name": "a"}, {"name": "b"}],
                     "initContainers": [{"name": "i"}]}});
        assert_eq!(container_of(&pod, Some("i")), Ok("i".to_owned()));
        assert_eq!(
            refused(&pod, None),
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
        assert_eq!(
            refused(&pod, Some("x")),
            "container x is not valid for pod p"
        );
        let single = json!({"spec": {"containers": [{"name": "a"}],
            "ephemeralContainers": [{"name": "debugger"}]}});
        assert_eq!(container_of(&single, None), Ok("a".to_owned()));
        assert_eq!(
            container_of(&single, Some("debugger")),
            Ok("debugger".to_owned())
        );
    }
}
