//! A controller for a kind of its own: each Song gets a ConfigMap with its words, applied
//! server-side and owned, and a status; its end is waited for by a finalizer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::events::v1::Event as Told;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, DeleteParams, ListParams, Object, Patch, PatchParams, PostParams,
};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::finalizer::{Event as Turn, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{NAMESPACE, Setting, client, typed};

const GROUP: &str = "rust.example.com";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Words {
    words: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sung {
    sung: i64,
}

type Song = Object<Words, Sung>;

fn kind() -> ApiResource {
    ApiResource {
        group: GROUP.into(),
        version: "v1".into(),
        api_version: format!("{GROUP}/v1"),
        kind: "Song".into(),
        plural: "songs".into(),
    }
}

fn definition() -> CustomResourceDefinition {
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["words"], "properties": {
            "words": {"type": "string"}}},
        "status": {"type": "object", "properties": {"sung": {"type": "integer"}}}}});
    typed(
        json!({"metadata": {"name": format!("songs.{GROUP}")}, "spec": {
        "group": GROUP, "scope": "Namespaced",
        "names": {"plural": "songs", "singular": "song", "kind": "Song"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "subresources": {"status": {}}, "schema": {"openAPIV3Schema": schema}}]}}),
    )
}

struct Context {
    client: Client,
    songs: Api<Song>,
    maps: Api<ConfigMap>,
    recorder: Recorder,
}

async fn sing(song: &Song, context: &Context) -> Result<Action, kube::Error> {
    let name = song.name_any();
    let owner = song.controller_owner_ref(&kind()).expect("a stored song");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "ownerReferences": [owner]},
        "data": {"words": song.spec.words}});
    let force = PatchParams::apply("singer").force();
    context
        .maps
        .patch(&name, &force, &Patch::Apply(&map))
        .await?;
    let generation = song.metadata.generation.unwrap_or(0);
    if song
        .status
        .as_ref()
        .is_none_or(|status| status.sung != generation)
    {
        let status = Patch::Merge(json!({"status": {"sung": generation}}));
        let plain = PatchParams::default();
        context.songs.patch_status(&name, &plain, &status).await?;
        let said = Event {
            type_: EventType::Normal,
            reason: "Sung".into(),
            note: Some(song.spec.words.clone()),
            action: "Singing".into(),
            secondary: None,
        };
        let about = song.object_ref(&kind());
        context.recorder.publish(&said, &about).await?;
    }
    Ok(Action::await_change())
}

async fn farewell(song: &Song, context: &Context) -> Result<Action, kube::Error> {
    let name = format!("{}-farewell", song.name_any());
    let map = typed(json!({"metadata": {"name": name}}));
    context.maps.create(&PostParams::default(), &map).await?;
    Ok(Action::await_change())
}

type Failure = kube::runtime::finalizer::Error<kube::Error>;

async fn reconcile(song: Arc<Song>, context: Arc<Context>) -> Result<Action, Failure> {
    let songs = context.songs.clone();
    finalizer(&songs, "rust.example.com/singer", song, |turn| async {
        match turn {
            Turn::Apply(song) => sing(&song, &context).await,
            Turn::Cleanup(song) => farewell(&song, &context).await,
        }
    })
    .await
}

/// Waits until a song was sung as it is now.
async fn sung(songs: &Api<Song>, name: &str, generation: i64) -> Song {
    let as_it_is = move |song: Option<&Song>| {
        song.and_then(|song| song.status.as_ref())
            .is_some_and(|status| status.sung == generation)
    };
    let found = within(await_condition(songs.clone(), name, as_it_is)).await;
    found.expect("watched").expect("there")
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    let ended = tokio::time::timeout(Duration::from_secs(180), work).await;
    ended.expect("the controller acts")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_keeps_its_promise() {
    let setting = Setting::start().await;
    let client = client(&setting).await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let new = PostParams::default();
    let made = definitions.create(&new, &definition()).await.expect("made");
    let established = conditions::is_crd_established();
    let name = made.name_any();
    let waited = await_condition(definitions.clone(), &name, established);
    within(waited).await.expect("established");

    let songs: Api<Song> = Api::namespaced_with(client.clone(), NAMESPACE, &kind());
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let reporter = Reporter {
        controller: "singer".into(),
        instance: None,
    };
    let context = Context {
        client: client.clone(),
        songs: songs.clone(),
        maps: maps.clone(),
        recorder: Recorder::new(client.clone(), reporter),
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let everything = watcher::Config::default();
    let owned = Api::<ConfigMap>::namespaced(context.client.clone(), NAMESPACE);
    let running = Controller::new_with(songs.clone(), everything.clone(), kind())
        .owns(owned, everything.streaming_lists())
        .graceful_shutdown_on(async {
            // A test that ends early is told elsewhere.
            let _ = stopped.await;
        })
        .run(
            reconcile,
            |_, _, _| Action::requeue(Duration::from_millis(100)),
            Arc::new(context),
        )
        // What fails is tried again; a promise that is never kept fails the test below.
        .for_each(|_| std::future::ready(()));
    let running = tokio::spawn(running);

    let song = Song::new(
        "ode",
        &kind(),
        Words {
            words: "joy".into(),
        },
    );
    let made = songs.create(&new, &song).await.expect("made");
    assert_eq!(made.metadata.generation, Some(1));
    let first = sung(&songs, "ode", 1).await;
    assert_eq!(first.finalizers(), ["rust.example.com/singer"]);
    let map = maps.get("ode").await.expect("map");
    assert_eq!(words(&map), "joy");
    assert_eq!(map.owner_references()[0].kind, "Song");

    // A change of what is wanted.
    let change = Patch::Merge(json!({"spec": {"words": "more joy"}}));
    let plain = PatchParams::default();
    songs.patch("ode", &plain, &change).await.expect("patched");
    sung(&songs, "ode", 2).await;
    assert_eq!(words(&maps.get("ode").await.expect("map")), "more joy");

    // A change of what is owned is taken back.
    let meddling = Patch::Merge(json!({"data": {"words": "noise"}}));
    maps.patch("ode", &plain, &meddling).await.expect("patched");
    let back = |map: Option<&ConfigMap>| map.is_some_and(|map| words(map) == "more joy");
    within(await_condition(maps.clone(), "ode", back))
        .await
        .expect("watched");

    let told: Api<Told> = Api::namespaced(client, NAMESPACE);
    let about = ListParams::default().fields("regarding.name=ode,reason=Sung");
    let notes: Vec<String> = told
        .list(&about)
        .await
        .expect("events")
        .into_iter()
        .filter_map(|event| event.note)
        .collect();
    assert!(notes.contains(&"joy".to_owned()), "{notes:?}");

    let uid = made.uid().expect("uid");
    songs
        .delete("ode", &DeleteParams::default())
        .await
        .expect("deleted");
    let deleted = await_condition(songs, "ode", conditions::is_deleted(&uid));
    within(deleted).await.expect("watched");
    maps.get("ode-farewell").await.expect("farewell");
    stop.send(()).expect("running");
    within(running).await.expect("stopped");
    setting.stop().await;
}

fn words(map: &ConfigMap) -> &str {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    let data = map.data.as_ref().unwrap_or(&NONE);
    data.get("words").map_or("", String::as_str)
}
