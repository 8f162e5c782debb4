//! Columns of what nodes and pods use, as metrics-server shows them.

use serde_json::{Value, json};

use super::{Column, NAME, column, name};
use crate::json::{list_at, str_at};
use crate::quantity::Amount;

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    column("cpu", "Cores in use, averaged over the window."),
    column("memory", "Bytes in use."),
    column("Window", "What is averaged over."),
];

pub(super) fn cells(object: &Value) -> Vec<Value> {
    let of = |resource: &str| -> String {
        if let Some(whole) = object.pointer(&format!("/usage/{resource}")) {
            return whole.as_str().unwrap_or_default().to_owned();
        }
        let parts = list_at(object, "/containers").iter();
        let parts = parts.filter_map(|c| Amount::of(c.pointer(&format!("/usage/{resource}"))?));
        let sum = parts.reduce(|a, b| a + b).unwrap_or_default();
        sum.to_string()
    };
    vec![
        name(object),
        json!(of("cpu")),
        json!(of("memory")),
        json!(str_at(object, "/window")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_uses_what_its_containers_use() {
        let pod = json!({"metadata": {"name": "p"}, "window": "10s", "containers": [
            {"name": "a", "usage": {"cpu": "100m", "memory": "64Mi"}},
            {"name": "b", "usage": {"cpu": "50m", "memory": "64Mi"}}]});
        assert_eq!(
            cells(&pod),
            [json!("p"), json!("150m"), json!("128Mi"), json!("10s")]
        );
        let node = json!({"metadata": {"name": "n"}, "window": "10s",
            "usage": {"cpu": "1", "memory": "2Gi"}});
        assert_eq!(
            cells(&node),
            [json!("n"), json!("1"), json!("2Gi"), json!("10s")]
        );
    }
}
