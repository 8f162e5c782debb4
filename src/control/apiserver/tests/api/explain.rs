//! `kubectl explain` teaches: words at any depth, for built-in, old and custom kinds.

use crate::program::{Kubectl, has, kubectls};
use crate::support::{Client, admin, app};
use crate::tls::Served;
use serde_json::json;

#[tokio::test]
async fn explain_teaches_at_any_depth_in_every_version() {
    let app = app().await;
    let client = Client::new(&app, admin());
    let served = Served::start(app).await;
    let config = served.kubeconfig(&served.identity("cadet-admin", "system:masters"));
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition", "metadata": {"name": "boats.harbour.example"},
        "spec": {"group": "harbour.example", "scope": "Namespaced",
            "names": {"plural": "boats", "kind": "Boat"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {
                "openAPIV3Schema": {"type": "object", "description": "It floats.",
                "properties": {"spec": {"type": "object", "description": "What is wanted.",
                    "properties": {"sails": {"type": "integer",
                        "description": "More are faster."}}}}}}}]}});
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    client.post(definitions, &definition).await.expect(201);
    let document = client.get("/openapi/v3").await.expect(200)["paths"]["api/v1"].clone();
    let url = document["serverRelativeURL"]
        .as_str()
        .expect("url")
        .to_owned();
    for (path, forever) in [
        (url.as_str(), true),
        ("/openapi/v3/api/v1", false),
        ("/openapi/v3/api/v1?hash=OLD", false),
    ] {
        let headers = client.get(path).await.headers;
        let kept = headers["cache-control"].to_str().expect("text");
        assert_eq!(kept.contains("immutable"), forever, "{path}: {kept}");
    }
    for program in kubectls() {
        let kubectl = Kubectl::new(&program, &config);
        for (what, words) in [
            (
                "pod",
                &["Pod is a collection of containers", "spec", "<PodSpec>"][..],
            ),
            (
                "pod.spec.containers.livenessProbe.httpGet",
                &[
                    "describes an action based on HTTP Get",
                    "Path to access on",
                    "port",
                    "required",
                ],
            ),
            (
                "pod.spec.containers.livenessProbe.httpGet.port",
                &[
                    "<IntOrString>",
                    "Name or number of the port",
                    "A number or a text",
                ],
            ),
            ("pod.metadata.labels", &["Map of string keys and values"]),
            (
                "service.spec.externalTrafficPolicy",
                &["distribute service traffic"],
            ),
            (
                "deployment.spec.strategy.rollingUpdate.maxSurge",
                &["maximum number of pods"],
            ),
            ("job.spec.backoffLimit", &["number of retries"]),
            ("ingress.spec.rules.http.paths.pathType", &["Prefix"]),
            (
                "networkpolicy.spec.ingress.from.podSelector",
                &["label selector"],
            ),
            ("crd.spec.versions.schema", &["schema describes the schema"]),
            ("resourcequota.status.used", &["current observed"]),
            ("boats", &["It floats.", "What is wanted."]),
            ("boats.spec.sails", &["<integer>", "More are faster."]),
        ] {
            has(&kubectl.run(&format!("explain {what}")).await, words);
        }
        let said = kubectl.run("explain statefulset --recursive").await;
        has(
            &said,
            &[
                "volumeClaimTemplates",
                "tolerationSeconds",
                "terminationGracePeriodSeconds",
            ],
        );
        let old = "explain cronjob --api-version=batch/v1beta1";
        has(
            &kubectl.run(old).await,
            &["batch", "v1beta1", "CronJob represents"],
        );
        let said = kubectl.fail("explain pod.spec.containers.sails").await;
        has(&said, &["does not exist"]);
    }
    served.stop().await;
}
