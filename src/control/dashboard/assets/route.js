// Addresses inside the page, behind the number sign. Pure.

// "#/", "#/list/pods", "#/object/pods/default/web-1", "#/object/nodes/-/cadet/yaml"
export function address(view, ...parts) {
  return `#/${[view, ...parts].map((part) => encodeURIComponent(part || "-")).join("/")}`;
}

export function parse(hash) {
  const parts = hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decode);
  const [view = "picture", kind, namespace, name, tab = ""] = parts;
  if (view === "list") return { view, kind };
  if (view === "object" && name) return { view, kind, namespace: namespace === "-" ? "" : namespace, name, tab };
  return { view: "picture" };
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const toObject = (kind, object, tab) =>
  address("object", kind.plural, object.metadata.namespace, object.metadata.name, ...(tab ? [tab] : []));
