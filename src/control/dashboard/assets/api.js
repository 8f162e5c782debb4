// Questions to the API with the token that was signed in with, which lives in this tab alone.

import { base64url } from "./paths.js";

const KEY = "cadet.token";

// A refusal, in the server's words.
export class Refused extends Error {
  constructor(code, message, reason = "") {
    super(message);
    this.code = code;
    this.reason = reason;
  }
}

export const token = () => sessionStorage.getItem(KEY) || "";

export function keepToken(text) {
  if (text) sessionStorage.setItem(KEY, text);
  else sessionStorage.removeItem(KEY);
}

// Called when the API no longer knows the token.
let expired = () => {};
export function whenExpired(work) { expired = work; }

// Sends one request; gives the answer whose head has come.
export async function send(method, path, { body, type, signal } = {}) {
  const headers = { Accept: "application/json, */*" };
  const shown = token();
  if (shown) headers.Authorization = `Bearer ${shown}`;
  if (body !== undefined) headers["Content-Type"] = type || "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers,
      signal,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "omit",
      cache: "no-store",
      redirect: "error",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused(0, "the cluster cannot be reached; is the tunnel still running?");
  }
  if (answer.ok) return answer;
  const refused = await refusal(answer);
  if (refused.code === 401 && shown && shown === token()) expired(refused);
  throw refused;
}

async function refusal(answer) {
  const text = await answer.text().catch(() => "");
  try {
    const status = JSON.parse(text);
    if (status.message) return new Refused(answer.status, status.message, status.reason);
  } catch {
    // Not every answer is a Status.
  }
  return new Refused(answer.status, text.trim() || `the server answers ${answer.status}`);
}

export async function json(method, path, body, type) {
  return (await send(method, path, { body, type })).json();
}

export const patch = (path, body) => json("PATCH", path, body, "application/merge-patch+json");

// Who the token belongs to.
export async function whoAmI() {
  const review = await json("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {
    apiVersion: "authentication.k8s.io/v1",
    kind: "SelfSubjectReview",
  });
  return review.status.userInfo;
}

const asked = new Map();

// Whether the signed-in account may do something; asked once and then known for a while.
export function may(verb, kind, namespace, name, subresource) {
  const attributes = { verb, group: kind.group, resource: kind.plural, namespace, name, subresource };
  const key = `${token()} ${JSON.stringify(attributes)}`;
  const known = asked.get(key);
  if (known && Date.now() - known.at < 60_000) return known.answer;
  const answer = json("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {
    apiVersion: "authorization.k8s.io/v1",
    kind: "SelfSubjectAccessReview",
    spec: { resourceAttributes: attributes },
  }).then((review) => review.status.allowed === true);
  asked.set(key, { at: Date.now(), answer });
  answer.catch(() => asked.delete(key));
  return answer;
}

// A WebSocket, which cannot carry a header: the token is one of its protocols, as the API
// server has it for browsers.
export function socket(path, protocol) {
  const url = new URL(path, location.href);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const shown = `base64url.bearer.authorization.k8s.io.${base64url(token())}`;
  const made = new WebSocket(url, [protocol, shown]);
  made.binaryType = "arraybuffer";
  return made;
}
