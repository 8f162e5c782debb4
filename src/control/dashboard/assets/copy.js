// One watched collection as it is now. Pure: events in, objects out.
//
//   empty ──events──▶ filling ──initial-events-end──▶ live ──too old──▶ filling
//     └──refused──▶ refused                            (what was seen stays until then)

export class Copy {
  constructor(path, selector = {}) {
    this.path = path;
    this.selector = selector;
    this.objects = new Map();
    this.version = "";
    this.state = "empty";
    this.error = null;
    this.incoming = null;
  }

  // Another stream begins: what was half told is told again.
  begin() {
    if (!this.version) this.incoming = new Map();
    if (this.state === "refused") this.state = "empty";
  }

  // Takes in one event; "changed" if people may see a difference, "ended" if the watch is
  // over, "broken" if the server is in trouble, "refused" if it may not be.
  take(event) {
    const { type, object } = event;
    if (type === "END") return "ended";
    if (type === "ERROR") return this.#failed(object);
    const version = object.metadata.resourceVersion;
    if (type === "BOOKMARK") {
      const whole = object.metadata.annotations?.["k8s.io/initial-events-end"] === "true";
      this.version = version;
      if (!whole || !this.incoming) return "";
      this.objects = this.incoming;
      this.incoming = null;
      this.state = "live";
      this.error = null;
      return "changed";
    }
    const objects = this.incoming || this.objects;
    const key = object.metadata.uid || `${object.metadata.namespace}/${object.metadata.name}`;
    // A server's diary of who wrote what, and half of the bytes.
    delete object.metadata.managedFields;
    if (type === "DELETED") objects.delete(key);
    else objects.set(key, object);
    if (this.incoming) return "";
    this.version = version;
    return "changed";
  }

  #failed(status) {
    // Too old, or a server that knows less than we do: all is told again.
    if (status.code === 410 || status.code === 504) {
      this.version = "";
      return "ended";
    }
    if (status.code === 429 || status.code >= 500) return "broken";
    this.state = "refused";
    this.error = status;
    this.version = "";
    this.objects = new Map();
    return "refused";
  }

  all() {
    return [...this.objects.values()];
  }
}
