// Questions that wait for an answer.

import { h } from "./dom.js";

let count = 0;

// Shows a dialog of `body` with a button that does something and one that does not. `act` may
// take its time; what it throws is shown, and the dialog stays. Gives what `act` gave, or
// undefined for "no".
export function ask({ title, body = [], verb, danger = false, act, ready = () => true }) {
  const id = `dialog-${++count}`;
  const back = document.activeElement;
  return new Promise((done) => {
    const trouble = h("p", { class: "trouble", role: "alert" });
    const yes = h("button", { type: "button", class: danger ? "danger" : "main", onclick: go }, verb);
    const no = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
    const dialog = h("dialog", { "aria-labelledby": id },
      h("h2", { id }, title), ...body, trouble, h("div", { class: "buttons" }, no, yes));
    let result;
    const check = () => { yes.disabled = !ready(); };
    async function go() {
      if (yes.disabled) return;
      yes.disabled = true;
      trouble.textContent = "";
      try {
        result = await act();
        dialog.close();
      } catch (error) {
        trouble.textContent = error.message;
        check();
      }
    }
    dialog.addEventListener("input", check);
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target.matches("input")) {
        event.preventDefault();
        go();
      }
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (back?.isConnected) back.focus();
      done(result);
    });
    document.body.append(dialog);
    dialog.showModal();
    check();
    // What cannot be undone is not under the Enter key.
    const field = dialog.querySelector("input");
    (field || (danger ? no : yes)).focus();
    field?.select();
  });
}
