//! Custom kinds, from their definition to their end.

use crate::support::{Client, admin, app};
use serde_json::{Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const BOATS: &str = "/apis/harbour.example/v1/namespaces/default/boats";

fn definition() -> Value {
    let schema = json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "required": ["sails"],
            "x-kubernetes-validations": [
                {"rule": "self.sails <= self.masts * 3", "message": "too many sails"},
                {"rule": "self.masts >= oldSelf.masts", "message": "masts do not shrink"}],
            "properties": {
                "sails": {"type": "integer", "minimum": 1},
                "masts": {"type": "integer", "default": 1},
                "name": {"type": "string", "pattern": "^[A-Z]"},
                "crew": {"type": "integer"}}},
        "status": {"type": "object", "properties": {"crew": {"type": "integer"}, "selector": {"type": "string"}}}}});
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage,
            "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.crew",
                "statusReplicasPath": ".status.crew", "labelSelectorPath": ".status.selector"}},
            "additionalPrinterColumns": [
                {"name": "Sails", "type": "integer", "jsonPath": ".spec.sails"},
                {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.harbour.example"},
        "spec": {"group": "harbour.example", "scope": "Namespaced",
            "names": {"plural": "boats", "kind": "Boat", "shortNames": ["bt"]},
            "versions": [version("v1beta1", false), version("v1", true)]}})
}

fn boat(name: &str) -> Value {
    json!({"apiVersion": "harbour.example/v1", "kind": "Boat", "metadata": {"name": name},
        "spec": {"sails": 2}})
}

async fn harbour() -> Client {
    let client = Client::new(&app().await, admin());
    let made = client.post(DEFINITIONS, &definition()).await.expect(201);
    let conditions = made["status"]["conditions"].as_array().expect("conditions");
    assert!(
        conditions
            .iter()
            .any(|c| c["type"] == "Established" && c["status"] == "True")
    );
    client
}

#[tokio::test]
async fn a_definition_serves_its_kind_at_once_and_takes_it_along_when_it_goes() {
    let client = harbour().await;
    let groups = client.get("/apis").await.expect(200).to_string();
    assert!(groups.contains("harbour.example/v1"), "{groups}");
    let document = client.get("/openapi/v3/apis/harbour.example/v1").await;
    assert!(document.expect(200).to_string().contains("Boat"));
    let made = client.post(BOATS, &boat("a")).await.expect(201);
    assert_eq!(
        (&made["spec"]["masts"], &made["metadata"]["generation"]),
        (&json!(1), &json!(1))
    );
    let old = BOATS.replace("/v1/", "/v1beta1/");
    let read = client.get(&format!("{old}/a")).await.expect(200);
    assert_eq!(read["apiVersion"], "harbour.example/v1beta1");
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let table = client
        .send(http::Method::GET, BOATS, &accept, "")
        .await
        .expect(200);
    assert_eq!(table["columnDefinitions"][1]["name"], "Sails");
    assert_eq!(table["rows"][0]["cells"][1], 2);
    let services = "/apis/apiregistration.k8s.io/v1/apiservices";
    let services = client.get(services).await.expect(200);
    assert!(services.to_string().contains("v1.harbour.example"));

    let path = format!("{DEFINITIONS}/boats.harbour.example");
    let mut events = client.watch(&format!("{DEFINITIONS}?watch=true")).await;
    client.delete(&path, &json!({})).await.expect(200);
    loop {
        let event = events.brief().await;
        assert_ne!(event, "END");
        if event == "DELETED boats.harbour.example" {
            break;
        }
    }
    assert_eq!(client.get(&path).await.code, 404);
    assert_eq!(client.get(BOATS).await.code, 404);
    client.post(DEFINITIONS, &definition()).await.expect(201);
    let left = client.get(BOATS).await.expect(200);
    assert_eq!(left["items"], json!([]));
}

#[tokio::test]
async fn objects_are_held_to_their_schema_and_rules() {
    let client = harbour().await;
    let mut bad = boat("a");
    bad["spec"] = json!({"sails": 0, "name": "x"});
    let message = client.post(BOATS, &bad).await.refused(422);
    for words in [
        "Boat.harbour.example \"a\" is invalid",
        "spec.sails: Invalid value: 0: spec.sails in body should be greater than or equal to 1",
        "spec.name: Invalid value: \"x\": spec.name in body should match '^[A-Z]'",
    ] {
        assert!(message.contains(words), "{message}");
    }
    bad["spec"] = json!({"sails": 9});
    let message = client.post(BOATS, &bad).await.refused(422);
    assert!(
        message.contains("spec: Invalid value: \"object\": too many sails"),
        "{message}"
    );
    let mut odd = boat("b");
    odd["spec"]["anchor"] = json!(1);
    odd["status"] = json!({"crew": 9});
    let strict = format!("{BOATS}?fieldValidation=Strict");
    let message = client.post(&strict, &odd).await.refused(400);
    assert!(
        message.contains("strict decoding error: unknown field \"spec.anchor\""),
        "{message}"
    );
    let answer = client.post(BOATS, &odd).await;
    assert_eq!(answer.warnings().len(), 1);
    let made = answer.expect(201);
    assert_eq!(
        (made["spec"].get("anchor"), made.get("status")),
        (None, None)
    );
    let mut more = made.clone();
    more["spec"]["masts"] = json!(3);
    let more = client.put(&format!("{BOATS}/b"), &more).await.expect(200);
    assert_eq!(more["metadata"]["generation"], 2);
    let mut less = more.clone();
    less["spec"]["masts"] = json!(2);
    let message = client.put(&format!("{BOATS}/b"), &less).await.refused(422);
    assert!(message.contains("masts do not shrink"), "{message}");
    let patch = json!({"spec": {"sails": 3}});
    let path = format!("{BOATS}/b");
    client.patch(&path, "merge", &patch).await.expect(200);
    assert_eq!(
        client.patch(&path, "strategic-merge", &patch).await.code,
        415
    );
    let scale = client.get(&format!("{path}/scale")).await.expect(200);
    assert_eq!(scale["kind"], "Scale");
    let wanted = json!({"spec": {"replicas": 7}});
    let scale = format!("{path}/scale");
    client.patch(&scale, "merge", &wanted).await.expect(200);
    assert_eq!(client.get(&path).await.expect(200)["spec"]["crew"], 7);
    let status = json!({"status": {"crew": 5}, "spec": {"crew": 1},
        "metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}}});
    let now = client
        .patch(&format!("{path}/status"), "merge", &status)
        .await;
    let now = now.expect(200);
    assert_eq!(
        (&now["status"]["crew"], &now["spec"]["crew"]),
        (&json!(5), &json!(7))
    );
    let kept = now["metadata"].get("annotations").is_none();
    assert!(
        kept && now["metadata"]["labels"].get("a").is_none(),
        "{now}"
    );
}

#[tokio::test]
async fn wrong_definitions_are_told_what_is_wrong() {
    let client = Client::new(&app().await, admin());
    let mut wrong = definition();
    wrong["metadata"]["name"] = json!("ships.harbour.example");
    wrong["spec"]["scope"] = json!("");
    wrong["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] =
        json!([{"rule": "url(self.x).getHost() == 'a'"}]);
    wrong["spec"]["versions"][1]["storage"] = json!(false);
    let message = client.post(DEFINITIONS, &wrong).await.refused(422);
    for words in [
        "metadata.name: Invalid value: \"ships.harbour.example\": must be spec.names.plural+\".\"+spec.group",
        "spec.scope: Required value",
        "must have exactly one version marked as storage version",
        "compilation failed: ERROR: <input>:1:9: undefined field 'x'\n | url(self.x).getHost() == 'a'\n | ........^",
    ] {
        assert!(message.contains(words), "{words} not in {message}");
    }
}
