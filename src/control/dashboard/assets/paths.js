// Paths of the API. Pure.

// Names of objects may hold colons and dots; what else they hold is escaped, and the server
// refuses such paths.
const segment = (text) => encodeURIComponent(text).replaceAll("%3A", ":");

export function collection(kind, namespace) {
  const base = kind.group ? `/apis/${kind.group}/${kind.version}` : `/api/${kind.version}`;
  return kind.namespaced && namespace
    ? `${base}/namespaces/${segment(namespace)}/${kind.plural}`
    : `${base}/${kind.plural}`;
}

export function object(kind, namespace, name, part) {
  const path = `${collection(kind, namespace)}/${segment(name)}`;
  return part ? `${path}/${part}` : path;
}

// `parameters` may hold lists and undefined values.
export function withQuery(path, parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of [value].flat()) {
      if (one !== undefined && one !== null) query.append(name, String(one));
    }
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

// A watch from a version on, or with all that is there first.
export function watch(path, version, selector = {}) {
  const from = version
    ? { resourceVersion: version }
    : { sendInitialEvents: "true", resourceVersionMatch: "NotOlderThan" };
  return withQuery(path, { watch: "true", allowWatchBookmarks: "true", ...from, ...selector });
}

// Base64 for URLs without padding (RFC 4648, section 5), of text.
export function base64url(text) {
  const bytes = new TextEncoder().encode(text);
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}
