// Light or dark: as the system has it, or as was chosen here.

import { h, text } from "./dom.js";

const KEY = "cadet.theme";
const NEXT = { system: "light", light: "dark", dark: "system" };

const chosen = () => (localStorage.getItem(KEY) in NEXT ? localStorage.getItem(KEY) : "system");

function apply(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

export function themeButton() {
  const label = () => `Theme: ${chosen()}`;
  const button = h("button", {
    type: "button",
    onclick: () => {
      localStorage.setItem(KEY, NEXT[chosen()]);
      apply(chosen());
      text(button, label());
    },
  }, label());
  apply(chosen());
  return button;
}
