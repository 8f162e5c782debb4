//! The environment from every source.

use k8s_openapi::ByteString;
use serde_json::json;

use super::*;

struct Maps;

#[async_trait]
impl ConfigSource for Maps {
    async fn config_map(&self, _: &Pod, name: &str) -> Result<Option<Arc<ConfigMap>>, ConfigError> {
        Ok((name == "settings").then(|| {
            Arc::new(ConfigMap {
                data: Some(BTreeMap::from([("color".into(), "red".into())])),
                ..ConfigMap::default()
            })
        }))
    }

    async fn secret(&self, _: &Pod, name: &str) -> Result<Option<Arc<Secret>>, ConfigError> {
        Ok((name == "door").then(|| {
            Arc::new(Secret {
                data: Some(BTreeMap::from([
                    ("key".into(), ByteString(b"s3same".to_vec())),
                    ("raw".into(), ByteString(vec![0xff])),
                ])),
                ..Secret::default()
            })
        }))
    }

    async fn token(
        &self,
        _: &Pod,
        _: &ServiceAccountTokenProjection,
    ) -> Result<String, ConfigError> {
        Ok("token".into())
    }
}

fn pod() -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "labels": {"app": "a b"}},
        "spec": {"nodeName": "n1", "containers": [
            {"name": "other", "resources": {"requests": {"cpu": "250m"}}}]},
    }))
    .unwrap()
}

async fn resolved(container: serde_json::Value) -> Result<Vec<String>, ConfigError> {
    let container: Container = serde_json::from_value(container).unwrap();
    let facts = Facts {
        pod_ip: "10.244.0.5".into(),
        host_ip: "10.0.2.15".into(),
        cpu_millis: 2000,
        memory: 1 << 30,
    };
    resolve(&pod(), &container, &facts, &Places::new(), &Maps)
        .await
        .map(|v| v.assignments())
}

#[tokio::test]
async fn every_source_in_order_with_expansion() {
    let variables = resolved(json!({"name": "c",
        "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}},
        "envFrom": [
            {"configMapRef": {"name": "settings"}, "prefix": "CM_"},
            {"secretRef": {"name": "nowhere", "optional": true}},
        ],
        "env": [
            {"name": "A", "value": "one"},
            {"name": "B", "value": "$(A)-$(NONE)-$$(A)-$"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "THEIRS", "valueFrom": {"resourceFieldRef":
                {"containerName": "other", "resource": "requests.cpu", "divisor": "1m"}}},
            {"name": "K", "valueFrom": {"secretKeyRef": {"name": "door", "key": "key"}}},
            {"name": "O", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "no", "optional": true}}},
            {"name": "A", "value": "again"},
            {"name": "E"},
        ]}))
    .await
    .unwrap();
    assert_eq!(
        variables,
        [
            "CM_color=red",
            "A=again",
            "B=one-$(NONE)-$(A)-$",
            "IP=10.244.0.5",
            "L=a b",
            "NODE=n1",
            "CPU=2",
            "MEM=64",
            "THEIRS=250",
            "K=s3same",
            "E="
        ]
    );
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let message = |env: serde_json::Value| async move {
        resolved(json!({"name": "c", "env": [env]}))
            .await
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        message(
            json!({"name": "X", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "k"}}})
        )
        .await,
        "configmap \"none\" not found"
    );
    assert_eq!(
        message(
            json!({"name": "X", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "k"}}})
        )
        .await,
        "couldn't find key k in ConfigMap shop/settings"
    );
    assert_eq!(
        message(
            json!({"name": "X", "valueFrom": {"secretKeyRef": {"name": "door", "key": "raw"}}})
        )
        .await,
        "value of key raw in secret door is no text"
    );
    assert_eq!(
        message(json!({"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "spec.banana"}}}))
            .await,
        "unsupported field path \"spec.banana\""
    );
}
