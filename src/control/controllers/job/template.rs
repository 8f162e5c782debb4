//! The pods of a Job, as JSON: its template, and what tells it which part of the work it is.

use k8s_openapi::api::batch::v1::Job;
use serde_json::{Map, Value, json};

use super::decide::Place;
use super::terms::{FAILURES, IGNORED, INDEX, INDEX_ENV, TRACKING};
use crate::shared::{controller_ref, pod_of};

/// Longest name that the server adds its five letters to.
const NAME_MAX: usize = 58;

/// Makes pods of one Job.
#[derive(Debug)]
pub struct Template {
    job: String,
    /// Without an index.
    plain: Value,
}

impl Template {
    /// # Errors
    /// If the template cannot be written as JSON.
    pub fn of(job: &Job) -> serde_json::Result<Template> {
        let empty = Default::default();
        let template = job.spec.as_ref().map_or(&empty, |spec| &spec.template);
        let mut plain = pod_of(template, &controller_ref(job))?;
        if let Some(Value::Object(metadata)) = plain.get_mut("metadata") {
            let finalizers = metadata.entry("finalizers").or_insert(json!([]));
            if let Some(finalizers) = finalizers.as_array_mut()
                && !finalizers.contains(&json!(TRACKING))
            {
                finalizers.push(json!(TRACKING));
            }
        }
        Ok(Template {
            job: job.metadata.name.clone().unwrap_or_default(),
            plain,
        })
    }

    /// The pod for a place.
    pub fn pod(&self, place: &Place) -> Value {
        let mut pod = self.plain.clone();
        let Some(index) = place.index else { return pod };
        pod["metadata"]["generateName"] = json!(self.generate_name(index));
        pod["spec"]["hostname"] = json!(format!("{}-{index}", self.job));
        let mut annotations = vec![(INDEX, index)];
        if let Some((counted, ignored)) = place.failures {
            annotations.push((FAILURES, counted));
            annotations.extend(Some((IGNORED, ignored)).filter(|(_, n)| *n > 0));
        }
        put(&mut pod["metadata"], "labels", &[(INDEX, index)]);
        put(&mut pod["metadata"], "annotations", &annotations);
        for list in ["initContainers", "containers"] {
            let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                tell_index(container);
            }
        }
        pod
    }

    /// `job-3-`, cut in front so that the index stays readable.
    fn generate_name(&self, index: i32) -> String {
        let end = format!("-{index}-");
        let room = NAME_MAX.saturating_sub(end.len());
        let name = self.job.get(..room).unwrap_or(&self.job);
        format!("{name}{end}")
    }
}

fn put(metadata: &mut Value, key: &str, pairs: &[(&str, i32)]) {
    let Some(metadata) = metadata.as_object_mut() else {
        return;
    };
    let map = metadata
        .entry(key)
        .or_insert_with(|| Value::Object(Map::new()));
    for (key, number) in pairs {
        map[*key] = json!(number.to_string());
    }
}

/// Adds the environment variable unless the container has its own of that name.
fn tell_index(container: &mut Value) {
    let Some(container) = container.as_object_mut() else {
        return;
    };
    let env = container.entry("env").or_insert(json!([]));
    let Some(env) = env.as_array_mut() else {
        return;
    };
    if env.iter().all(|e| e["name"] != INDEX_ENV) {
        let path = format!("metadata.labels['{INDEX}']");
        env.push(json!({"name": INDEX_ENV, "valueFrom": {"fieldRef": {"fieldPath": path}}}));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::job;
    use super::*;

    #[test]
    fn a_pod_knows_its_index_in_every_way() {
        let template = Template::of(&job(json!({}), json!({}))).unwrap();
        let plain = Place {
            index: None,
            failures: None,
        };
        let pod = template.pod(&plain);
        assert_eq!(pod["metadata"]["generateName"], "work-");
        assert_eq!(pod["metadata"]["finalizers"], json!([TRACKING]));
        assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "Job");
        assert!(pod["spec"]["containers"][0].get("env").is_none());
        let third = Place {
            index: Some(3),
            failures: Some((2, 0)),
        };
        let pod = template.pod(&third);
        assert_eq!(pod["metadata"]["generateName"], "work-3-");
        assert_eq!(
            pod["metadata"]["labels"],
            json!({"app": "work", INDEX: "3"})
        );
        assert_eq!(
            pod["metadata"]["annotations"],
            json!({INDEX: "3", FAILURES: "2"})
        );
        assert_eq!(pod["spec"]["hostname"], "work-3");
        assert_eq!(
            pod["spec"]["containers"][0]["env"],
            json!([{"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef":
                {"fieldPath": "metadata.labels['batch.kubernetes.io/job-completion-index']"}}}])
        );
    }

    #[test]
    fn long_names_are_cut_before_the_index() {
        let mut long = job(json!({}), json!({}));
        long.metadata.name = Some("a".repeat(63));
        let template = Template::of(&long).unwrap();
        let name = template.generate_name(12);
        assert_eq!(name.len(), 58);
        assert!(name.ends_with("a-12-"));
    }
}
