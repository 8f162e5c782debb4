// Objects from their making to their end, watches and an informer.
import assert from 'node:assert/strict';
import * as k8s from '@kubernetes/client-node';
import { Heard, config, has, play, refused, same } from './say.mjs';

const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const customs = config.makeApiClient(k8s.CustomObjectsApi);
const extensions = config.makeApiClient(k8s.ApiextensionsV1Api);
const namespace = 'default';
const map = (name, more = {}) => ({ metadata: { name, ...more }, data: { key: '1' } });

async function discovery() {
  const version = await config.makeApiClient(k8s.VersionApi).getCode();
  has(version.gitVersion, 'v1.');
  const groups = await config.makeApiClient(k8s.ApisApi).getAPIVersions();
  assert(groups.groups.some((group) => group.name === 'apps'));
  const resources = await core.getAPIResources();
  assert(resources.resources.some((resource) => resource.name === 'pods/exec'));
}

async function lists() {
  for (let n = 0; n < 7; n += 1) {
    const body = map(`many-${n}`, { labels: { set: 'many' } });
    await core.createNamespacedConfigMap({ namespace, body });
  }
  const names = [];
  let _continue;
  do {
    const page = await core.listNamespacedConfigMap(
      { namespace, labelSelector: 'set=many', limit: 3, _continue });
    names.push(...page.items.map((item) => item.metadata.name));
    _continue = page.metadata._continue;
  } while (_continue);
  same(names, [0, 1, 2, 3, 4, 5, 6].map((n) => `many-${n}`));
  await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: 'set=many' });
  same((await core.listNamespacedConfigMap({ namespace, labelSelector: 'set' })).items, []);
}

async function conflicts() {
  const first = await core.createNamespacedConfigMap({ namespace, body: map('changed') });
  assert(first.metadata.creationTimestamp instanceof Date);
  has(await refused(409, 'AlreadyExists',
    core.createNamespacedConfigMap({ namespace, body: map('changed') })), 'already exists');
  first.data.key = '2';
  await core.replaceNamespacedConfigMap({ name: 'changed', namespace, body: first });
  has(await refused(409, 'Conflict',
    core.replaceNamespacedConfigMap({ name: 'changed', namespace, body: first })),
  'the object has been modified');
  same(await refused(404, 'NotFound',
    core.readNamespacedConfigMap({ name: 'nothing', namespace })), 'configmaps "nothing" not found');
}

const by = (strategy) => k8s.setHeaderOptions('Content-Type', strategy);

async function patches() {
  const labels = { app: 'patched' };
  const containers = [{ name: 'c', image: 'nginx:1.27', env: [{ name: 'A', value: '1' }] }];
  const body = { metadata: { name: 'patched' }, spec: {
    selector: { matchLabels: labels }, template: { metadata: { labels }, spec: { containers } } } };
  await apps.createNamespacedDeployment({ namespace, body });
  const patch = (what, strategy) => apps.patchNamespacedDeployment(
    { name: 'patched', namespace, body: what }, strategy && by(strategy));
  const { JsonPatch, MergePatch, StrategicMergePatch, ServerSideApply } = k8s.PatchStrategy;

  // Left to itself, the library sends a JSON patch.
  const replace = [{ op: 'replace', path: '/spec/replicas', value: 2 }];
  same((await patch(replace)).spec.replicas, 2);
  replace[0].value = 3;
  same((await patch(replace, JsonPatch)).spec.replicas, 3);
  await refused(422, 'Invalid',
    patch([{ op: 'test', path: '/spec/replicas', value: 9 }], JsonPatch));
  const merged = await patch({ spec: { template: { spec: { containers: [
    { name: 'only', image: 'busybox' }] } } } }, MergePatch);
  same(merged.spec.template.spec.containers.map((c) => c.name), ['only']);
  const strategic = await patch({ spec: { template: { spec: { containers: [
    { name: 'second', image: 'busybox' }] } } } }, StrategicMergePatch);
  same(new Set(strategic.spec.template.spec.containers.map((c) => c.name)),
    new Set(['only', 'second']));

  const apply = (data, fieldManager, force) => core.patchNamespacedConfigMap({
    name: 'applied', namespace, fieldManager, force,
    body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied' }, data },
  }, by(ServerSideApply));
  same((await apply({ a: '1' }, 'me')).metadata.managedFields[0].manager, 'me');
  has(await refused(409, 'Conflict', apply({ a: '2' }, 'they')), 'conflict with "me": .data.a');
  same((await apply({ a: '2' }, 'they', true)).data, { a: '2' });

  const scale = await apps.readNamespacedDeploymentScale({ name: 'patched', namespace });
  scale.spec.replicas = 8;
  const scaled = await apps.replaceNamespacedDeploymentScale(
    { name: 'patched', namespace, body: scale });
  same(scaled.spec.replicas, 8);
  const owner = { apiVersion: 'apps/v1', kind: 'Deployment', name: 'patched',
    uid: scale.metadata.uid, blockOwnerDeletion: true };
  await core.createNamespacedConfigMap(
    { namespace, body: map('owned', { ownerReferences: [owner] }) });
  await apps.deleteNamespacedDeployment(
    { name: 'patched', namespace, body: { propagationPolicy: 'Foreground' } });
  const dying = await apps.readNamespacedDeployment({ name: 'patched', namespace });
  same(dying.metadata.finalizers, ['foregroundDeletion']);
}

async function watches() {
  const path = `/api/v1/namespaces/${namespace}/configmaps`;
  const { metadata } = await core.listNamespacedConfigMap({ namespace });
  const heard = new Heard();
  const watch = new k8s.Watch(config);
  const controller = await watch.watch(path, { resourceVersion: metadata.resourceVersion },
    (type, object) => heard.tell(`${type} ${object.metadata.name}`), () => heard.tell('done'));
  await core.createNamespacedConfigMap({ namespace, body: map('seen') });
  same(await heard.next(), 'ADDED seen');
  await core.deleteNamespacedConfigMap({ name: 'seen', namespace });
  same(await heard.next(), 'DELETED seen');
  controller.abort();
  same(await heard.next(), 'done');
  // The server ends a watch when its time is over.
  await watch.watch(path, { timeoutSeconds: 1, resourceVersion: metadata.resourceVersion },
    () => {}, () => heard.tell('over'));
  same(await heard.next(), 'over');
}

async function informs() {
  const heard = new Heard();
  const list = () => core.listNamespacedConfigMap({ namespace, labelSelector: 'informed' });
  const informer = k8s.makeInformer(
    config, `/api/v1/namespaces/${namespace}/configmaps`, list, 'informed');
  for (const kind of ['add', 'update', 'delete']) {
    informer.on(kind, (object) => heard.tell(`${kind} ${object.metadata.name}`));
  }
  informer.on('error', (error) => heard.tell(error));
  const body = (name) => map(name, { labels: { informed: 'yes' } });
  await core.createNamespacedConfigMap({ namespace, body: body('before') });
  await informer.start();
  same(await heard.next(), 'add before');
  await core.createNamespacedConfigMap({ namespace, body: body('after') });
  same(await heard.next(), 'add after');
  await core.patchNamespacedConfigMap({ name: 'after', namespace,
    body: [{ op: 'add', path: '/data/more', value: '2' }] });
  same(await heard.next(), 'update after');
  await core.deleteNamespacedConfigMap({ name: 'before', namespace });
  same(await heard.next(), 'delete before');
  same(informer.list().map((object) => object.metadata.name), ['after']);
  await informer.stop();
}

async function otherKinds() {
  const group = 'node.example.com';
  const schema = { type: 'object', properties: { spec: { type: 'object', properties: {
    size: { type: 'integer', _default: 1 } } } } };
  await extensions.createCustomResourceDefinition({ body: {
    apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition',
    metadata: { name: `widgets.${group}` },
    spec: { group, scope: 'Namespaced', names: { plural: 'widgets', kind: 'Widget' },
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: schema } }] },
  } });
  const where = { group, version: 'v1', namespace, plural: 'widgets' };
  const body = { apiVersion: `${group}/v1`, kind: 'Widget', metadata: { name: 'w' }, spec: {} };
  const made = await customs.createNamespacedCustomObject({ ...where, body });
  same(made.spec, { size: 1 });
  const objects = k8s.KubernetesObjectApi.makeApiClient(config);
  const patched = await objects.patch({ ...body, spec: { size: 5 } }, undefined, undefined,
    'node', undefined, k8s.PatchStrategy.MergePatch);
  same(patched.spec.size, 5);
  const read = await objects.read({ apiVersion: `${group}/v1`, kind: 'Widget',
    metadata: { name: 'w', namespace } });
  same(read.spec.size, 5);
  same((await objects.list(`${group}/v1`, 'Widget', namespace)).items.length, 1);
  await objects.delete(read);
  await refused(404, 'NotFound', customs.getNamespacedCustomObject({ ...where, name: 'w' }));
}

await play(discovery, lists, conflicts, patches, watches, informs, otherKinds);
