"""Tokens as proof of who one is, what one may, and one leader among several."""

import base64
import json
import os
import threading

from kubernetes import client
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from say import config_map, has, in_time, refused, same, well

core, rbac = client.CoreV1Api(), client.RbacAuthorizationV1Api()
authentication = client.AuthenticationV1Api()
authorization = client.AuthorizationV1Api()
HERE = "default"


def bearer(token):
    """The library as somebody who has only a token."""
    mine = client.Configuration.get_default_copy()
    mine.cert_file = mine.key_file = None
    mine.api_key = {"authorization": token}
    mine.api_key_prefix = {"authorization": "Bearer"}
    return client.ApiClient(mine)


def tokens():
    core.create_namespaced_service_account(HERE, {"metadata": {"name": "robot"}})
    request = client.AuthenticationV1TokenRequest(
        spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=3600))
    given = core.create_namespaced_service_account_token("robot", HERE, request)
    assert given.status.expiration_timestamp, given
    with bearer(given.status.token) as robot:
        whoami = client.AuthenticationV1Api(robot).create_self_subject_review({})
        same(whoami.status.user_info.username, f"system:serviceaccount:{HERE}:robot")
        has(whoami.status.user_info.groups, "system:serviceaccounts", "system:authenticated")
        theirs = client.CoreV1Api(robot)
        message = refused(403, "Forbidden", theirs.list_namespaced_config_map, HERE)
        same(message, 'configmaps is forbidden: User "system:serviceaccount:default:robot" cannot '
             'list resource "configmaps" in API group "" in the namespace "default"')
        rbac.create_namespaced_role(HERE, {
            "metadata": {"name": "reader"},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"],
                       "verbs": ["get", "list", "watch"]}]})
        rbac.create_namespaced_role_binding(HERE, {
            "metadata": {"name": "reader"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role",
                        "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": HERE}]})
        theirs.list_namespaced_config_map(HERE)
        refused(403, "Forbidden", theirs.create_namespaced_config_map, HERE, config_map("no"))

        def may(verb):
            review = client.V1SelfSubjectAccessReview(spec=client.V1SelfSubjectAccessReviewSpec(
                resource_attributes=client.V1ResourceAttributes(
                    namespace=HERE, verb=verb, resource="configmaps")))
            api = client.AuthorizationV1Api(robot)
            return api.create_self_subject_access_review(review).status.allowed
        same((may("list"), may("delete")), (True, False))
    review = authentication.create_token_review(
        client.V1TokenReview(spec=client.V1TokenReviewSpec(token=given.status.token)))
    same(review.status.authenticated, True)
    with bearer("nonsense") as nobody:
        refused(401, "Unauthorized", client.CoreV1Api(nobody).list_namespaced_pod, HERE)
    # A token ends with its account.
    core.delete_namespaced_service_account("robot", HERE)
    with bearer(given.status.token) as robot:
        refused(401, "Unauthorized", client.CoreV1Api(robot).list_namespaced_config_map, HERE)


def classic():
    core.create_namespaced_service_account(HERE, {"metadata": {"name": "old"}})
    core.create_namespaced_secret(HERE, client.V1Secret(
        type="kubernetes.io/service-account-token",
        metadata=client.V1ObjectMeta(
            name="old-token", annotations={"kubernetes.io/service-account.name": "old"})))
    secret = core.read_namespaced_secret("old-token", HERE)
    with bearer(base64.b64decode(secret.data["token"]).decode()) as old:
        whoami = client.AuthenticationV1Api(old).create_self_subject_review({})
        same(whoami.status.user_info.username, f"system:serviceaccount:{HERE}:old")


def leads(lock_of, holder_of):
    started, stopped, second_started = (threading.Event() for _ in range(3))
    ending = threading.Event()

    def lead():
        started.set()
        ending.wait(180)
        raise InterruptedError("the first is done: what follows is no failure")

    def elect(identity, begin, end):
        settings = electionconfig.Config(
            lock_of(identity), lease_duration=3, renew_deadline=2, retry_period=1,
            onstarted_leading=begin, onstopped_leading=end)
        threading.Thread(target=leaderelection.LeaderElection(settings).run, daemon=True).start()

    elect("first", lead, stopped.set)
    assert started.wait(180)
    same(holder_of(), "first")
    elect("second", second_started.set, lambda: None)
    ending.set()
    assert stopped.wait(180)
    assert second_started.wait(180)
    same(holder_of(), "second")


def leases():
    api = client.CoordinationV1Api()
    leads(lambda me: LeaseLock("lock", HERE, me),
          lambda: api.read_namespaced_lease("lock", HERE).spec.holder_identity)
    lease = api.read_namespaced_lease("lock", HERE)
    same(lease.spec.lease_duration_seconds, 3)


def config_maps():
    note = "control-plane.alpha.kubernetes.io/leader"
    leads(lambda me: ConfigMapLock("lock", HERE, me),
          lambda: json.loads(core.read_namespaced_config_map("lock", HERE)
                             .metadata.annotations[note])["holderIdentity"])


for part in (tokens, classic, leases, config_maps):
    print(part.__name__, flush=True)
    in_time(part, 240)
well()
# Whoever leads goes on for ever, also while Python would tidy up.
os._exit(0)
