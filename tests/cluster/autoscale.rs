//! What nodes and pods use, and autoscalers that act on it.

use crate::cluster::Cluster;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use serde_json::Value;

const TARGET: &str = "apiVersion: v1
kind: ReplicationController
metadata: {name: web}
spec:
  replicas: 2
  selector: {app: web}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: web, resources: {requests: {cpu: 100m}}}]}";

/// Two pods of the target, whoever makes them.
async fn two_pods(cluster: &Cluster) -> Vec<String> {
    for name in ["web-1", "web-2"] {
        cluster
            .create(&format!(
                "apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: web}}}}
spec: {{containers: [{{name: c, image: web, resources: {{requests: {{cpu: 100m}}}}}}]}}"
            ))
            .await;
    }
    let pods = cluster
        .until_all::<Pod>("app=web", |pods| {
            pods.len() >= 2 && pods.iter().all(Cluster::is_ready)
        })
        .await;
    pods.into_iter()
        .filter_map(|pod| pod.metadata.name)
        .collect()
}

async fn get(cluster: &Cluster, path: &str) -> Value {
    let request = http::Request::get(path).body(vec![]).expect("request");
    cluster.client.request(request).await.expect(path)
}

#[tokio::test]
async fn agents_are_asked_what_is_used() {
    let cluster = Cluster::start().await;
    let agent = cluster.agent("node-1").await;
    let pods = two_pods(&cluster).await;
    agent.says(&[(&pods[0], 250), (&pods[1], 50)]);
    let nodes = get(&cluster, "/apis/metrics.k8s.io/v1beta1/nodes").await;
    assert_eq!(nodes["kind"], "NodeMetricsList");
    assert_eq!(nodes["items"][0]["metadata"]["name"], "node-1");
    assert_eq!(nodes["items"][0]["usage"]["cpu"], "300000000n");
    let path = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods?labelSelector=app%3Dweb";
    let used = get(&cluster, path).await;
    assert_eq!(used["items"].as_array().map(Vec::len), Some(2), "{used}");
    assert_eq!(
        used["items"][0]["containers"][0]["usage"]["memory"],
        "65536Ki"
    );
    let one = format!(
        "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/{}",
        pods[0]
    );
    assert_eq!(
        get(&cluster, &one).await["containers"][0]["usage"]["cpu"],
        "250000000n"
    );

    let (served, kubectl) = cluster.kubectl().await;
    let top = kubectl.run("top nodes").await;
    assert!(top.contains("node-1") && top.contains("300m"), "{top}");
    let top = kubectl.run("top pods --containers").await;
    assert!(top.contains("250m") && top.contains("64Mi"), "{top}");
    served.stop().await;
}

#[tokio::test]
async fn load_makes_more_replicas() {
    let cluster = Cluster::start().await;
    let agent = cluster.agent("node-1").await;
    cluster.create(TARGET).await;
    let pods = two_pods(&cluster).await;
    let busy: Vec<(&str, u64)> = pods.iter().map(|pod| (pod.as_str(), 200)).collect();
    agent.says(&busy);
    // Figures of a pod that has just started are not trusted; memory's always are.
    cluster
        .create(
            "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: v1, kind: ReplicationController, name: web}
  minReplicas: 1
  maxReplicas: 3
  metrics: [{type: Resource, resource: {name: memory, target: {type: AverageValue, averageValue: 16Mi}}}]",
        )
        .await;
    // What it says of the change, it says only until it looks again.
    let (_, scaler) = tokio::join!(
        cluster.until::<ReplicationController>("default", "web", |target| {
            let spec = target.and_then(|target| target.spec.as_ref());
            spec.is_some_and(|spec| spec.replicas == Some(3))
        }),
        cluster.until::<HorizontalPodAutoscaler>("default", "web", |scaler| {
            let status = scaler.and_then(|scaler| scaler.status.as_ref());
            status.is_some_and(|status| status.desired_replicas == 3)
        })
    );
    let scaler = scaler.expect("the autoscaler");
    cluster
        .until_event(
            "web",
            "SuccessfulRescale: New size: 3; reason: memory resource above target",
        )
        .await;
    let conditions = scaler.status.and_then(|s| s.conditions).unwrap_or_default();
    let of = |kind: &str| {
        let found = conditions
            .iter()
            .find(|c| c.type_ == kind)
            .expect("a condition");
        (
            found.status.clone(),
            found.reason.clone().unwrap_or_default(),
        )
    };
    assert_eq!(
        of("AbleToScale"),
        ("True".into(), "SucceededRescale".into())
    );
    assert_eq!(
        of("ScalingActive"),
        ("True".into(), "ValidMetricFound".into())
    );
    assert_eq!(
        of("ScalingLimited"),
        ("True".into(), "TooManyReplicas".into())
    );
}

#[tokio::test]
async fn an_autoscaler_without_a_target_says_so() {
    let cluster = Cluster::bare().await;
    cluster
        .create(
            "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: lost}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: gone}
  maxReplicas: 3
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]",
        )
        .await;
    let scaler = cluster
        .until::<HorizontalPodAutoscaler>("default", "lost", |scaler| {
            let status = scaler.and_then(|scaler| scaler.status.as_ref());
            status.is_some_and(|status| status.conditions.is_some())
        })
        .await
        .expect("the autoscaler");
    let conditions = scaler.status.and_then(|s| s.conditions).unwrap_or_default();
    assert_eq!(conditions[0].type_, "AbleToScale");
    assert_eq!(conditions[0].reason.as_deref(), Some("FailedGetScale"));
    let words = "the HPA controller was unable to get the target's current scale: \
        deployments/scale.apps \"gone\" not found";
    assert_eq!(conditions[0].message.as_deref(), Some(words));
}

#[tokio::test]
async fn two_autoscalers_of_the_same_pods_stand_in_each_others_way() {
    let cluster = Cluster::start().await;
    let agent = cluster.agent("node-1").await;
    cluster.create(TARGET).await;
    let pods = two_pods(&cluster).await;
    let idle: Vec<(&str, u64)> = pods.iter().map(|pod| (pod.as_str(), 10)).collect();
    agent.says(&idle);
    for name in ["one", "two"] {
        cluster
            .create(&format!(
                "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: {name}}}
spec:
  scaleTargetRef: {{apiVersion: v1, kind: ReplicationController, name: web}}
  minReplicas: 2
  maxReplicas: 3
  metrics: [{{type: Resource, resource: {{name: memory, target: {{type: AverageValue, averageValue: 1Gi}}}}}}]"
            ))
            .await;
        // The second comes when the first has been looked at.
        cluster
            .until::<HorizontalPodAutoscaler>("default", name, |scaler| {
                let status = scaler.and_then(|scaler| scaler.status.as_ref());
                status.is_some_and(|status| status.conditions.is_some())
            })
            .await;
    }
    let told = "AmbiguousSelector: pods by selector app=web are controlled by multiple HPAs: \
        [default/one default/two]";
    cluster.until_event("two", told).await;
}
