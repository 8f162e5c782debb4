"""Kinds the library was not made for: by the dynamic client and as custom objects."""

from kubernetes import client, dynamic, watch
from kubernetes.dynamic.exceptions import (
    ConflictError, NotFoundError, ResourceNotFoundError, UnprocessibleEntityError,
)

from say import gone, has, in_time, refused, same, well

GROUP, HERE = "stable.example.com", "default"
extensions, customs = client.ApiextensionsV1Api(), client.CustomObjectsApi()

SCHEMA = {"type": "object", "properties": {
    "spec": {"type": "object", "required": ["schedule"], "properties": {
        "schedule": {"type": "string", "pattern": r"^(\S+\s){4}\S+$"},
        "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 2},
        "parts": {"type": "array", "x-kubernetes-list-type": "map",
                  "x-kubernetes-list-map-keys": ["name"],
                  "items": {"type": "object", "required": ["name"], "properties": {
                      "name": {"type": "string"}, "size": {"type": "integer"}}}}},
        "x-kubernetes-validations": [{
            "rule": "self.replicas != 7", "message": "seven is taken"}]},
    "status": {"type": "object", "properties": {
        "replicas": {"type": "integer"}, "phase": {"type": "string"}}}}}


def definition():
    made = extensions.create_custom_resource_definition({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"crontabs.{GROUP}"},
        "spec": {
            "group": GROUP, "scope": "Namespaced",
            "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab",
                      "shortNames": ["ct"]},
            "versions": [{
                "name": "v1", "served": True, "storage": True,
                "schema": {"openAPIV3Schema": SCHEMA},
                "additionalPrinterColumns": [
                    {"name": "Spec", "type": "string", "jsonPath": ".spec.schedule"}],
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas"}}}]}})
    same(made.spec.names.list_kind, "CronTabList")

    def established():
        watcher = watch.Watch()
        for event in watcher.stream(
            extensions.list_custom_resource_definition,
            field_selector=f"metadata.name=crontabs.{GROUP}",
        ):
            conditions = event["object"].status.conditions or []
            if {c.type: c.status for c in conditions}.get("Established") == "True":
                watcher.stop()
    in_time(established)


def crontab(name, **spec):
    return {"apiVersion": f"{GROUP}/v1", "kind": "CronTab", "metadata": {"name": name},
            "spec": {"schedule": "* * * * *", **spec}}


def objects():
    where = (GROUP, "v1", HERE, "crontabs")
    made = customs.create_namespaced_custom_object(*where, crontab("a", unknown=1))
    same(made["spec"], {"schedule": "* * * * *", "replicas": 2})
    message = refused(422, "Invalid", customs.create_namespaced_custom_object, *where,
                      crontab("b", replicas=11))
    has(message, "spec.replicas: Invalid value: 11",
        "should be less than or equal to 10")
    message = refused(422, "Invalid", customs.create_namespaced_custom_object, *where,
                      crontab("b", replicas=7))
    has(message, "seven is taken")
    merged = customs.patch_namespaced_custom_object(*where, "a", {"spec": {"replicas": 4}})
    same(merged["spec"]["replicas"], 4)
    merged = customs.patch_namespaced_custom_object(
        *where, "a", [{"op": "replace", "path": "/spec/replicas", "value": 5}],
        _content_type="application/json-patch+json")
    same(merged["spec"]["replicas"], 5)
    refused(415, "UnsupportedMediaType", customs.patch_namespaced_custom_object, *where, "a",
            {"spec": {}}, _content_type="application/strategic-merge-patch+json")
    status = customs.patch_namespaced_custom_object_status(
        *where, "a", {"status": {"phase": "Fine"}, "spec": {"replicas": 9}})
    same((status["status"]["phase"], status["spec"]["replicas"]), ("Fine", 5))
    same(status["metadata"]["generation"], 3)
    scale = customs.get_namespaced_custom_object_scale(*where, "a")
    same((scale["kind"], scale["spec"]["replicas"]), ("Scale", 5))
    customs.patch_namespaced_custom_object_scale(*where, "a", {"spec": {"replicas": 6}})
    seen = customs.get_namespaced_custom_object(*where, "a")
    same(seen["spec"]["replicas"], 6)
    seen["spec"]["replicas"] = 3
    customs.replace_namespaced_custom_object(*where, "a", seen)
    refused(409, "Conflict", customs.replace_namespaced_custom_object, *where, "a", seen)
    listed = customs.list_cluster_custom_object(GROUP, "v1", "crontabs")
    same((listed["kind"], len(listed["items"])), ("CronTabList", 1))
    gone = customs.delete_namespaced_custom_object(*where, "a")
    same((gone["status"], gone["details"]["uid"]), ("Success", seen["metadata"]["uid"]))


def dynamically():
    api = dynamic.DynamicClient(client.ApiClient())
    same(api.version["kubernetes"]["major"], "1")
    tabs = api.resources.get(api_version=f"{GROUP}/v1", kind="CronTab")
    same((tabs.name, tabs.singular_name, tabs.short_names), ("crontabs", "crontab", ["ct"]))
    assert {"create", "watch", "deletecollection"} <= set(tabs.verbs), tabs.verbs
    same(api.resources.get(short_names=["ct"], api_version=f"{GROUP}/v1").kind, "CronTab")
    try:
        api.resources.get(api_version=f"{GROUP}/v1", kind="Nothing")
    except ResourceNotFoundError:
        pass
    else:
        raise AssertionError("Nothing is a kind")
    start = tabs.get(namespace=HERE).metadata.resourceVersion
    made = tabs.create(crontab("d", parts=[{"name": "x", "size": 1}]), namespace=HERE)
    same(made.spec.replicas, 2)
    def apply(size, manager, **options):
        body = crontab("d", parts=[{"name": "x", "size": size}])
        del body["spec"]["schedule"]
        return tabs.server_side_apply(body, namespace=HERE, field_manager=manager, **options)
    apply(1, "first")
    try:
        apply(2, "second")
    except ConflictError as error:
        has(error.summary(), 'conflict', '.spec.parts[name="x"].size')
    else:
        raise AssertionError("no conflict")
    same(apply(2, "second", force_conflicts=True).spec.parts[0]["size"], 2)
    try:
        tabs.create(crontab("e", schedule="never"), namespace=HERE)
    except UnprocessibleEntityError as error:
        has(error.summary(), "spec.schedule", "should match")
    else:
        raise AssertionError("a bad schedule is taken")
    patched = tabs.patch(body={"spec": {"replicas": 8}}, name="d", namespace=HERE,
                         content_type="application/merge-patch+json")
    same(patched.spec.replicas, 8)
    same(tabs.status.patch(
        body={"status": {"replicas": 8}}, name="d", namespace=HERE,
        content_type="application/merge-patch+json").status.replicas, 8)
    same(tabs.scale.get(name="d", namespace=HERE).status.replicas, 8)
    tabs.delete(name="d", namespace=HERE)
    try:
        tabs.get(name="d", namespace=HERE)
    except NotFoundError:
        pass
    else:
        raise AssertionError("d is still there")

    def seen():
        kinds = []
        for event in tabs.watch(namespace=HERE, resource_version=start, timeout=120):
            kinds.append(event["type"])
            if event["type"] == "DELETED":
                return kinds
    kinds = in_time(seen)
    same((kinds[0], kinds[-1]), ("ADDED", "DELETED"))
    # Kinds of the server itself in the same way, across their versions.
    pods = api.resources.get(api_version="v1", kind="Pod")
    same({item.metadata.name for item in pods.get(namespace=HERE).items}, {"web", "two"})
    scalers = api.resources.get(api_version="autoscaling/v2", kind="HorizontalPodAutoscaler")
    same(scalers.get(namespace=HERE).items, [])
    everything = list(api.resources)
    assert len(everything) > 50, len(everything)


def undone():
    extensions.delete_custom_resource_definition(f"crontabs.{GROUP}")
    gone(f"crontabs.{GROUP}", extensions.list_custom_resource_definition)
    refused(404, "NotFound", customs.list_cluster_custom_object, GROUP, "v1", "crontabs")


for part in (definition, objects, dynamically, undone):
    print(part.__name__, flush=True)
    part()
well()
