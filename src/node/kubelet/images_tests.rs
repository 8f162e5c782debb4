//! Pull policies and stand-ins against the fake engine.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::testing::{World, pod};

fn lesson(repository: &str, pull_instead: Option<&str>, always: bool) -> LessonImage {
    LessonImage {
        repository: repository.into(),
        tags: vec!["latest".into()],
        when_args: Vec::new(),
        pull_instead: pull_instead.map(str::to_owned),
        context: "stand-in".into(),
        always,
        own: false,
        build_args: BTreeMap::new(),
        says: "The old one is gone.".into(),
    }
}

async fn ensure(world: &World, image: &str, policy: &str) -> Result<String, ImageError> {
    let pod = pod(json!({"containers": [
        {"name": "c", "image": image, "imagePullPolicy": policy}]}));
    let container = pod.spec.as_ref().unwrap().containers[0].clone();
    world.shared.images.ensure(&pod, &container).await
}

const STAND_IN: &str = "cadet.local/lessons/stand-in:latest";

#[tokio::test]
async fn policies_are_kept() {
    let mut world = World::new();
    world.runtime.offer("docker.io/library/busybox:1");
    assert_eq!(
        ensure(&world, "busybox:1", "IfNotPresent").await.unwrap(),
        "busybox:1"
    );
    let told = world.told();
    assert_eq!(told[0], "Pulling: Pulling image \"busybox:1\"");
    assert!(
        told[1].starts_with("Pulled: Successfully pulled image \"busybox:1\" in "),
        "{told:?}"
    );

    world.runtime.load("here:1");
    ensure(&world, "here:1", "IfNotPresent").await.unwrap();
    assert_eq!(
        world.told(),
        [
            "Pulled: Container image \"here:1\" already present on machine and can be accessed by the pod"
        ]
    );
    assert_eq!(world.runtime.pulls(), ["docker.io/library/busybox:1"]);

    let error = ensure(&world, "gone:1", "Never").await.unwrap_err();
    assert_eq!(error.reason, "ErrImageNeverPull");
    let error = ensure(&world, "UPPER CASE", "Always").await.unwrap_err();
    assert_eq!(error.reason, "InvalidImageName");
}

#[tokio::test]
async fn a_failed_pull_without_a_stand_in_is_upstreams_error() {
    let mut world = World::new();
    let error = ensure(&world, "gone", "Always").await.unwrap_err();
    assert_eq!(error.reason, "ErrImagePull");
    let later = error.later.unwrap();
    assert_eq!(
        later,
        (
            "ImagePullBackOff",
            format!(
                "Back-off pulling image \"gone\": ErrImagePull: {}",
                error.message
            )
        )
    );
    let told = world.told();
    assert!(
        told.contains(&"Failed: Error: ErrImagePull".to_owned()),
        "{told:?}"
    );
}

#[tokio::test]
async fn without_a_registry_the_lessons_own_image_is_built_once_and_said() {
    let entry = lesson(
        "docker.io/library/mongo",
        Some("docker.io/library/mongo:4.0"),
        false,
    );
    let mut world = World::with_lessons(&[entry]);
    assert_eq!(ensure(&world, "mongo", "Always").await.unwrap(), STAND_IN);
    assert_eq!(ensure(&world, "mongo", "Always").await.unwrap(), STAND_IN);
    assert_eq!(world.runtime.builds(), 1);
    let told = world.told();
    let said: Vec<_> = told
        .iter()
        .filter(|line| line.starts_with("Substituted:"))
        .collect();
    assert!(
        said[0].contains("The old one is gone.") && said[0].contains(STAND_IN),
        "{said:?}"
    );
    assert!(said[0].contains("did not answer"), "says why: {said:?}");

    // A newer Cadet brings a newer context.
    std::fs::write(world.home.path().join("lessons/stand-in.tar"), "newer").unwrap();
    ensure(&world, "mongo", "Always").await.unwrap();
    assert_eq!(world.runtime.builds(), 2);
}

#[tokio::test]
async fn a_silent_registry_is_not_waited_for_again_where_something_stands_in() {
    let world = World::with_lessons(&[
        lesson("docker.io/library/nginx", None, false),
        lesson("docker.io/library/busybox", None, false),
    ]);
    for image in ["nginx", "busybox", "nginx"] {
        ensure(&world, image, "Always").await.unwrap();
    }
    assert_eq!(world.runtime.pulls(), ["docker.io/library/nginx:latest"]);
    // Where nothing stands in, asking is all there is; the answer counts for the others.
    world.runtime.offer("docker.io/me/app:latest");
    ensure(&world, "me/app", "Always").await.unwrap();
    world.runtime.offer("docker.io/library/nginx:latest");
    assert_eq!(ensure(&world, "nginx", "Always").await.unwrap(), "nginx");
}

#[tokio::test]
async fn with_a_registry_the_lesson_names_what_is_pulled() {
    let entry = lesson(
        "docker.io/library/mongo",
        Some("docker.io/library/mongo:4.0"),
        false,
    );
    let mut world = World::with_lessons(&[entry]);
    world.runtime.offer("docker.io/library/mongo:4.0");
    let run = ensure(&world, "mongo", "Always").await.unwrap();
    assert_eq!(run, "docker.io/library/mongo:4.0");
    assert_eq!(world.runtime.builds(), 0);
    assert!(
        world
            .told()
            .iter()
            .any(|line| line.starts_with("Substituted:"))
    );
}

#[tokio::test]
async fn always_asks_no_registry() {
    let world = World::with_lessons(&[lesson("docker.io/meteorhacks/telescope", None, true)]);
    assert_eq!(
        ensure(&world, "meteorhacks/telescope", "Always")
            .await
            .unwrap(),
        STAND_IN
    );
    assert!(world.runtime.pulls().is_empty());
}

fn own() -> LessonImage {
    let build_args = BTreeMap::from([("VERSION".to_owned(), "{tag}".to_owned())]);
    LessonImage {
        tags: vec!["1".into(), "2".into()],
        own: true,
        build_args,
        ..lesson("docker.io/library/hello", None, false)
    }
}

#[tokio::test]
async fn names_of_our_own_are_built_by_version_and_never_pulled() {
    let mut world = World::with_lessons(&[own()]);
    world.runtime.offer("docker.io/library/hello:1");
    for image in ["hello:1", "hello:2", "hello:1"] {
        assert_eq!(ensure(&world, image, "Always").await.unwrap(), image);
    }
    assert_eq!(world.runtime.builds(), 2);
    assert_eq!(world.runtime.arguments("hello:2")["VERSION"], "2");
    assert!(world.runtime.pulls().is_empty());
    let told = world.told();
    assert_eq!(told[0], "Building: Building image \"hello:1\"");
    assert!(
        told[1].starts_with("Pulled: Successfully built image \"hello:1\" on this machine in "),
        "{told:?}"
    );
    assert_eq!(
        told.last().unwrap(),
        "Pulled: Container image \"hello:1\" already present on machine and can be accessed by the pod"
    );

    // No version but those of the table: a wrong name fails as everywhere.
    let error = ensure(&world, "hello:9", "IfNotPresent").await.unwrap_err();
    assert_eq!(error.reason, "ErrImagePull");
    // Never means never.
    world.runtime.forget_images();
    let error = ensure(&world, "hello:1", "Never").await.unwrap_err();
    assert_eq!(error.reason, "ErrImageNeverPull");
}

#[tokio::test]
async fn what_the_learner_built_under_our_name_is_left_alone() {
    let world = World::with_lessons(&[own()]);
    world.runtime.load("hello:1");
    for policy in ["IfNotPresent", "Always", "Never"] {
        assert_eq!(ensure(&world, "hello:1", policy).await.unwrap(), "hello:1");
    }
    assert_eq!(world.runtime.builds(), 0);
}

#[tokio::test]
async fn a_stand_in_under_the_images_own_name_is_said() {
    let mut world = World::with_lessons(&[lesson("docker.io/library/nginx", None, false)]);
    let labels = HashMap::from([(labels::CONTEXT.to_owned(), "x".to_owned())]);
    world
        .runtime
        .build("nginx:latest", Bytes::new(), labels)
        .await
        .unwrap();
    let run = ensure(&world, "nginx:latest", "IfNotPresent")
        .await
        .unwrap();
    assert_eq!(run, "nginx:latest");
    let told = world.told();
    assert!(
        told[0].starts_with("Substituted: The old one is gone."),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_missing_context_is_an_error_with_its_path() {
    let mut world = World::with_lessons(&[lesson("docker.io/library/mongo", None, true)]);
    std::fs::remove_file(world.home.path().join("lessons/stand-in.tar")).unwrap();
    let error = ensure(&world, "mongo", "Always").await.unwrap_err();
    assert!(error.message.contains("stand-in.tar"), "{error:?}");
    assert!(world.told()[0].starts_with("Failed:"));
}

#[tokio::test]
async fn pull_secrets_are_read_and_missing_ones_named() {
    let mut world = World::new();
    world.runtime.offer("docker.io/me/app:1");
    let pod = pod(json!({"imagePullSecrets": [{"name": "gone"}],
        "containers": [{"name": "c", "image": "me/app:1"}]}));
    let container = pod.spec.as_ref().unwrap().containers[0].clone();
    world.shared.images.ensure(&pod, &container).await.unwrap();
    let told = world.told().join("\n");
    let words = "FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets \
                 (gone); attempting to pull the image may not succeed.";
    assert!(told.contains(words), "{told}");
}
