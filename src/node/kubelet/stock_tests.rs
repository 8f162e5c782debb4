//! A lesson's images, with and without a registry.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use bytes::Bytes;

use super::*;
use crate::testing::World;

fn entry(repository: &str, tag: &str, context: &str) -> LessonImage {
    LessonImage {
        repository: repository.into(),
        tags: vec![tag.into()],
        when_args: Vec::new(),
        pull_instead: None,
        context: context.into(),
        always: false,
        own: false,
        build_args: BTreeMap::new(),
        says: "Something else runs.".into(),
    }
}

fn table() -> Vec<LessonImage> {
    vec![
        LessonImage {
            when_args: vec!["--old".into()],
            pull_instead: Some("docker.io/library/mongo:4.0".into()),
            ..entry("docker.io/library/mongo", "latest", "mongo")
        },
        LessonImage {
            own: true,
            ..entry("docker.io/library/hello", "1", "hello")
        },
        LessonImage {
            always: true,
            ..entry("docker.io/me/telescope", "latest", "telescope")
        },
        entry("docker.io/library/nginx", "latest", "nginx"),
        entry("docker.io/library/python", "3-slim", "python"),
    ]
}

async fn put(world: &World, wishes: &[&str]) -> Result<Vec<String>, StockError> {
    let told = Mutex::new(Vec::new());
    let tell = |line: Told| told.lock().unwrap().push(line.to_string());
    let wishes: Vec<String> = wishes.iter().map(|s| (*s).to_owned()).collect();
    stock(&*world.runtime, world.home.path(), &wishes, &tell).await?;
    Ok(told.into_inner().unwrap())
}

async fn there(world: &World, image: &str) -> bool {
    world.runtime.image(image).await.unwrap().is_some()
}

#[tokio::test]
async fn without_a_registry_everything_is_built_and_waited_for_once() {
    let world = World::with_lessons(&table());
    let wishes = [
        "hello:1",
        "me/telescope",
        "mongo --old",
        "nginx",
        "python:3-slim",
    ];
    let told = put(&world, &wishes).await.unwrap();
    let ends: Vec<_> = told
        .iter()
        .filter(|line| !line.starts_with("doing "))
        .collect();
    assert_eq!(
        ends,
        [
            "done hello:1 is built",
            "instead me/telescope: Something else runs.",
            "instead mongo: Something else runs.",
            "instead nginx: Something else runs.",
            "instead python:3-slim: Something else runs.",
        ]
    );
    // One registry, asked once.
    assert_eq!(world.runtime.pulls(), ["docker.io/library/mongo:4.0"]);
    assert!(there(&world, "python:3-slim").await, "what FROM names");
    assert!(there(&world, "nginx:latest").await);
    assert!(
        !there(&world, "mongo:latest").await,
        "mongo:4.0 is another image"
    );
    assert!(there(&world, "cadet.local/lessons/mongo:latest").await);

    // Again: nothing is built anew.
    let builds = world.runtime.builds();
    put(&world, &wishes).await.unwrap();
    assert_eq!(world.runtime.builds(), builds);
}

#[tokio::test]
async fn with_a_registry_the_real_ones_are_pulled_in_place_of_stand_ins() {
    let world = World::with_lessons(&table());
    put(&world, &["python:3-slim", "mongo --old"])
        .await
        .unwrap();
    for image in [
        "docker.io/library/python:3-slim",
        "docker.io/library/mongo:4.0",
    ] {
        world.runtime.offer(image);
    }
    let told = put(&world, &["python:3-slim", "mongo --old"])
        .await
        .unwrap();
    assert_eq!(
        told,
        [
            "doing pulling python:3-slim",
            "done python:3-slim is pulled",
            "doing pulling docker.io/library/mongo:4.0",
            "done docker.io/library/mongo:4.0 is pulled",
        ]
    );
}

#[tokio::test]
async fn what_is_there_is_enough() {
    let world = World::with_lessons(&table());
    world.runtime.load("nginx");
    assert_eq!(
        put(&world, &["nginx"]).await.unwrap(),
        ["done nginx is there"]
    );
    world
        .runtime
        .build("hello:1", Bytes::new(), HashMap::new())
        .await
        .unwrap();
    assert_eq!(
        put(&world, &["hello:1"]).await.unwrap(),
        ["done hello:1 is there, and not Cadet's"]
    );
    assert!(world.runtime.pulls().is_empty());
}

#[tokio::test]
async fn what_cannot_be_had_is_said_with_both_reasons() {
    let world = World::with_lessons(&table());
    std::fs::remove_file(world.home.path().join("lessons/nginx.tar")).unwrap();
    let error = put(&world, &["nginx"]).await.unwrap_err().to_string();
    assert!(error.contains("did not answer"), "{error}");
    assert!(error.contains("nginx.tar"), "{error}");
    let unknown = put(&world, &["gone:1"]).await.unwrap_err().to_string();
    assert!(unknown.starts_with("gone:1: "), "{unknown}");
    assert!(put(&world, &["UPPER"]).await.is_err());
}
