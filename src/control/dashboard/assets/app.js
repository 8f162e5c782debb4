// The page: who is signed in, what is shown, and the frame around it.

import { keepToken, token, whenExpired, whoAmI } from "./api.js";
import { detail } from "./detail.js";
import { announce, h, text } from "./dom.js";
import { GROUPS, KINDS } from "./kinds.js";
import { list } from "./list.js";
import { Live } from "./live.js";
import { nameOf } from "./model.js";
import { collection } from "./paths.js";
import { picture } from "./picture.js";
import { address, parse } from "./route.js";
import { signIn } from "./signin.js";
import { themeButton } from "./theme.js";

const root = document.getElementById("app");
const STATES = { connecting: "connecting", live: "live", lost: "connection lost, trying again" };

let leave = () => {};

function start(why = "") {
  leave();
  leave = () => {};
  if (!token()) {
    document.title = "Sign in - Cadet dashboard";
    root.replaceChildren(signIn({ why, enter }));
    root.querySelector("input")?.focus();
    return;
  }
  whoAmI().then(run, (error) => {
    if (error.code === 401) return signOut("The API does not know this token; it may have expired.");
    root.replaceChildren(signIn({ why: error.message, enter }));
    return undefined;
  });
}

async function enter(given) {
  keepToken(given);
  try {
    run(await whoAmI());
  } catch (error) {
    keepToken("");
    throw error.code === 401 ? new Error("The API does not know this token; it may have expired.") : error;
  }
}

function signOut(why = "") {
  keepToken("");
  sessionStorage.removeItem("cadet.namespace");
  start(why);
}

function run(user) {
  const live = new Live();
  const frame = build(user, live);
  root.replaceChildren(frame.element);
  const show = () => frame.show(parse(location.hash));
  addEventListener("hashchange", show);
  whenExpired(() => signOut("The token has expired."));
  leave = () => {
    whenExpired(() => {});
    removeEventListener("hashchange", show);
    frame.end();
    live.close();
  };
  show();
  announce(`Signed in as ${user.username}`);
}

function build(user, live) {
  const state = h("span", { class: "state connecting", role: "status" }, STATES.connecting);
  live.onState = (now, why) => {
    state.className = `state ${now}`;
    text(state, STATES[now]);
    state.title = why || "";
  };
  const names = h("datalist", { id: "namespaces" });
  const field = h("input", {
    id: "namespace", list: "namespaces", placeholder: "all", size: 18, autocomplete: "off", spellcheck: "false",
    value: sessionStorage.getItem("cadet.namespace") || "",
  });
  const main = h("main", { id: "main", tabindex: "-1" });
  const nav = h("nav", { "aria-label": "Kinds" },
    h("ul", {}, h("li", {}, h("a", { href: "#/" }, "Picture"))),
    ...GROUPS.map(([title, kinds]) => [
      h("h2", {}, title),
      h("ul", {}, ...kinds.map((kind) => h("li", {}, h("a", { href: address("list", kind.plural) }, kind.title)))),
    ]));
  const skip = h("a", { class: "skip", href: "#main", onclick: (event) => { event.preventDefault(); main.focus(); } }, "Skip to content");
  const header = h("header", {},
    h("a", { class: "brand", href: "#/" }, "Cadet"), state,
    h("label", { for: "namespace" }, "Namespace "), field, names,
    h("span", { class: "who", title: (user.groups || []).join(", ") }, user.username),
    themeButton(), h("button", { type: "button", onclick: () => signOut() }, "Sign out"));
  const element = h("div", { class: "frame" }, skip, header, nav, main);

  const cx = { live, user, namespace: field.value.trim() };
  field.addEventListener("change", () => {
    cx.namespace = field.value.trim();
    sessionStorage.setItem("cadet.namespace", cx.namespace);
    show(parse(location.hash));
  });
  const all = live.follow(collection(KINDS.get("namespaces")), () => {
    const known = all.copy.all().map(nameOf).sort();
    names.replaceChildren(...known.map((name) => h("option", { value: name })));
    // Who may not look everywhere begins at home.
    const home = /^system:serviceaccount:([^:]+):/.exec(user.username)?.[1];
    if (all.copy.state === "refused" && !cx.namespace && home) {
      field.value = home;
      field.dispatchEvent(new Event("change"));
    }
  });

  let view = { end() {} };
  let shown = null;
  function show(route) {
    // The picture and lists begin anew; focus goes to what is new only when somebody went there.
    const moved = shown !== null && shown !== location.hash;
    shown = location.hash;
    view.end();
    main.replaceChildren();
    for (const link of nav.querySelectorAll("a")) {
      const here = link.getAttribute("href") === (route.kind ? address("list", route.kind) : "#/");
      if (here) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    const kind = KINDS.get(route.kind);
    if (route.view === "object" && kind) view = detail(main, cx, kind, route);
    else if (route.view === "list" && kind) view = list(main, cx, kind);
    else view = picture(main, cx);
    document.title = `${main.querySelector("h1")?.textContent || "Picture"} - Cadet dashboard`;
    if (moved) main.focus({ preventScroll: true });
  }
  return { element, show, end() { view.end(); all.end(); } };
}

start();
