// The door: a token of a ServiceAccount, and how to come by one.

import { h } from "./dom.js";
import { themeButton } from "./theme.js";

const HOW = [
  "cadet dashboard --token",
  "kubectl create serviceaccount me\nkubectl create clusterrolebinding me --clusterrole=cluster-admin --serviceaccount=default:me\nkubectl create token me",
];

// `enter` is given the token and throws if it is none.
export function signIn({ why, enter }) {
  const trouble = h("p", { class: "trouble", role: "alert" }, why);
  const field = h("input", {
    id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true, "aria-describedby": "kept",
  });
  const button = h("button", { class: "main", type: "submit" }, "Sign in");
  async function submit(event) {
    event.preventDefault();
    // Terminals wrap what is long, and some copy the word before it too.
    const token = field.value.replace(/^\s*Bearer\s+/i, "").replace(/\s+/g, "");
    trouble.textContent = "";
    if (!token) return field.focus();
    button.disabled = true;
    try {
      await enter(token);
    } catch (error) {
      trouble.textContent = error.message;
      button.disabled = false;
      field.select();
    }
    return undefined;
  }
  return h("main", { class: "door" },
    h("h1", {}, "Cadet dashboard"),
    h("form", { onsubmit: submit },
      h("label", { for: "token" }, "Token of a ServiceAccount"), field, button, trouble),
    h("p", { id: "kept" }, "What you may do here is what RBAC lets that account do. The token stays in this tab and is forgotten with it."),
    h("h2", {}, "Where a token comes from"),
    h("p", {}, "An account that may look at everything, made for the purpose:"), h("pre", {}, HOW[0]),
    h("p", {}, "Or an account of your own, here one that may do everything:"), h("pre", {}, HOW[1]),
    themeButton());
}
