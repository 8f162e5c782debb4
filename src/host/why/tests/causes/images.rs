//! Images that do not come: the same waiting reason, told apart by the registry's words.

use cadet_why::Kind;
use serde_json::json;

use crate::world::{World, app, node, pod, waiting, with_status};

fn failing(image: &str, registry: &str) -> World {
    let mut one = app();
    one["image"] = json!(image);
    let message = format!(
        "Back-off pulling image \"{image}\": ErrImagePull: Error response from daemon: {registry}"
    );
    World::about(Kind::Pod, "web").node().with(
        Kind::Pod,
        with_status("web", one, waiting("ImagePullBackOff", &message)),
    )
}

#[test]
fn a_tag_that_does_not_exist() {
    let world = failing(
        "nginx:nosuch",
        "manifest for nginx:nosuch not found: manifest unknown: manifest unknown",
    );
    world.says(
        "IMAGE_NAME",
        &[
            "the registry has no image nginx:nosuch",
            "kubectl set image pod/web app=IMAGE -n shop",
        ],
    );
    let world = failing(
        "nginx:nosuch",
        "failed to resolve reference \"docker.io/library/nginx:nosuch\": docker.io/library/nginx:nosuch: not found",
    );
    world.says("IMAGE_NAME", &["its name or tag is wrong"]);
}

#[test]
fn a_repository_that_does_not_exist_or_is_private_cannot_be_told_apart() {
    let words = "pull access denied for ngimx, repository does not exist or may require 'docker login': denied: requested access to the resource is denied";
    failing("ngimx", words).says(
        "IMAGE_NAME",
        &[
            "the name is wrong, or the image is private",
            "no imagePullSecrets",
        ],
    );
}

#[test]
fn a_pull_secret_makes_it_a_matter_of_rights() {
    let words = "pull access denied for me/app, repository does not exist or may require 'docker login': denied";
    let message = format!("Back-off pulling image \"me/app\": ErrImagePull: {words}");
    let mut one = with_status("web", app(), waiting("ImagePullBackOff", &message));
    one["spec"]["imagePullSecrets"] = json!([{"name": "gone"}]);
    let world = World::about(Kind::Pod, "web")
        .node()
        .with(Kind::Pod, one.clone());
    world.says("IMAGE_DENIED", &["refuses its pull secret"]);
    let missing = "Unable to retrieve some image pull secrets (gone); attempting to pull the image may not succeed.";
    let world = World::about(Kind::Pod, "web")
        .node()
        .with(Kind::Pod, one)
        .event(Kind::Pod, "web", "FailedToRetrieveImagePullSecret", missing);
    world.says(
        "IMAGE_DENIED",
        &["its pull secret cannot be read", "(gone)"],
    );
}

#[test]
fn a_registry_that_wants_a_login() {
    let world = failing(
        "ghcr.io/me/app:1",
        "Head \"https://ghcr.io/v2/me/app/manifests/1\": unauthorized: authentication required",
    );
    world.says(
        "IMAGE_DENIED",
        &["wants a login", "--docker-server=ghcr.io"],
    );
}

#[test]
fn a_registry_that_is_not_reached() {
    let world = failing(
        "127.0.0.1:1/absent:test",
        "Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
    );
    world.says(
        "IMAGE_REGISTRY",
        &["its registry 127.0.0.1:1 does not answer"],
    );
    let world = failing(
        "registry.exmple/app",
        "Get \"https://registry.exmple/v2/\": dial tcp: lookup registry.exmple on 10.0.2.3:53: no such host",
    );
    world.says(
        "IMAGE_REGISTRY",
        &["the name of its registry, registry.exmple, cannot be found"],
    );
    let world = failing(
        "nginx",
        "failed to resolve reference \"docker.io/library/nginx:latest\": failed to do request: Head \"https://registry-1.docker.io/v2/library/nginx/manifests/latest\": dial tcp: lookup registry-1.docker.io: i/o timeout",
    );
    world.says("IMAGE_REGISTRY", &["registry-1.docker.io does not answer"]);
    let message = "Back-off pulling image \"nginx\": ErrImagePull: the registry of docker.io/library/nginx:latest did not answer for 120 s";
    let world = World::about(Kind::Pod, "web").node().with(
        Kind::Pod,
        with_status("web", app(), waiting("ImagePullBackOff", message)),
    );
    world.says("IMAGE_REGISTRY", &["does not answer"]);
}

#[test]
fn an_image_for_another_processor() {
    let world = failing(
        "old/app:1",
        "no matching manifest for linux/amd64 in the manifest list entries",
    );
    world.says(
        "IMAGE_ARCHITECTURE",
        &["is not made for linux/amd64", "node cadet is amd64"],
    );
}

#[test]
fn too_many_pulls_and_full_disks() {
    let world = failing(
        "nginx",
        "toomanyrequests: You have reached your unauthenticated pull rate limit.",
    );
    world.says("IMAGE_RATE_LIMIT", &["too many images"]);
    let world = failing(
        "nginx",
        "write /var/lib/docker/tmp/GetImageBlob1: no space left on device",
    );
    world.says("DISK_FULL", &["disk of node cadet is full"]);
}

#[test]
fn an_image_that_nobody_may_pull() {
    let message = "Container image \"flask-app:latest\" is not present with pull policy of Never";
    let mut one = app();
    one["image"] = json!("flask-app:latest");
    one["imagePullPolicy"] = json!("Never");
    let mut here = node("cadet", json!({}));
    here["status"]["images"] = json!([{"names": ["flask_app:latest"]}]);
    let world = World::about(Kind::Pod, "web")
        .all(Kind::Node, &[here])
        .with(
            Kind::Pod,
            with_status("web", one, waiting("ErrImageNeverPull", message)),
        );
    world.says(
        "IMAGE_NEVER_PULLED",
        &[
            "is not on node cadet, and imagePullPolicy is Never",
            "the node has flask_app:latest",
        ],
    );
}

#[test]
fn a_name_that_is_none() {
    let mut one = app();
    one["image"] = json!("Web App");
    let world = World::about(Kind::Pod, "web").node().with(
        Kind::Pod,
        with_status(
            "web",
            one,
            waiting(
                "InvalidImageName",
                "Failed to apply default image tag \"Web App\": invalid reference format",
            ),
        ),
    );
    world.says("IMAGE_NAME", &["no name an image can have"]);
}

#[test]
fn words_that_are_not_known_are_shown_and_not_judged() {
    failing("nginx", "unexpected EOF").says("IMAGE_PULL", &["cannot be pulled", "unexpected EOF"]);
}

#[test]
fn an_image_on_its_way_is_no_fault() {
    let one = with_status("web", app(), waiting("ContainerCreating", ""));
    let world = World::about(Kind::Pod, "web")
        .node()
        .with(Kind::Pod, one.clone())
        .event(Kind::Pod, "web", "Pulling", "Pulling image \"web:1\"")
        .event_at(
            Kind::Pod,
            "web",
            "Pulling",
            "Pulling image \"web:1\": 40 of 130 MiB",
            "2026-01-01T00:06:00Z",
        );
    world.says(
        "IMAGE_PULLING",
        &["still on its way", "40 of 130 MiB", "since 5 min"],
    );
    assert!(!world.answer().is_fault());
    // Once it is there something else keeps the container.
    let world = World::about(Kind::Pod, "web")
        .node()
        .with(Kind::Pod, one)
        .event(Kind::Pod, "web", "Pulling", "Pulling image \"web:1\"")
        .event_at(
            Kind::Pod,
            "web",
            "Pulled",
            "Successfully pulled image",
            "2026-01-01T00:06:00Z",
        );
    world.may_say("UNKNOWN", &[]);
}

#[test]
fn of_several_containers_the_one_at_fault_is_told() {
    let mut side = app();
    side["name"] = json!("side");
    let mut two = pod("web", json!([app(), side]));
    let mut bad = waiting(
        "ErrImagePull",
        "Error response from daemon: manifest for web:1 not found: manifest unknown",
    );
    bad["name"] = json!("side");
    let mut fine = crate::world::running();
    fine["name"] = json!("app");
    two["status"]["containerStatuses"] = json!([fine, bad]);
    let world = World::about(Kind::Pod, "web").node().with(Kind::Pod, two);
    world.says("IMAGE_NAME", &["set image pod/web side=IMAGE"]);
}
