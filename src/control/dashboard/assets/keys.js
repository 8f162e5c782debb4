// Keys as the bytes a terminal sends for them (xterm's, in its normal and application modes).
// Pure.

const ARROWS = { ArrowUp: "A", ArrowDown: "B", ArrowRight: "C", ArrowLeft: "D", Home: "H", End: "F" };
const TILDES = { Insert: 2, Delete: 3, PageUp: 5, PageDown: 6, F5: 15, F6: 17, F7: 18, F8: 19, F9: 20, F10: 21, F11: 23, F12: 24 };
const FUNCTIONS = { F1: "P", F2: "Q", F3: "R", F4: "S" };

// "" for keys that say nothing to the program, and for those that stay the browser's.
export function sequence({ key, ctrlKey, altKey, shiftKey, metaKey }, { application = false } = {}) {
  if (metaKey) return "";
  // Copy and paste, and the way out of the terminal.
  if (ctrlKey && shiftKey) return "";
  const modifier = 1 + (shiftKey ? 1 : 0) + (altKey ? 2 : 0) + (ctrlKey ? 4 : 0);
  if (key in ARROWS) {
    if (modifier > 1) return `\x1b[1;${modifier}${ARROWS[key]}`;
    return `\x1b${application ? "O" : "["}${ARROWS[key]}`;
  }
  if (key in TILDES) return `\x1b[${TILDES[key]}${modifier > 1 ? `;${modifier}` : ""}~`;
  if (key in FUNCTIONS) return modifier > 1 ? `\x1b[1;${modifier}${FUNCTIONS[key]}` : `\x1bO${FUNCTIONS[key]}`;
  const escape = altKey ? "\x1b" : "";
  switch (key) {
    case "Enter": return `${escape}\r`;
    case "Backspace": return escape + (ctrlKey ? "\b" : "\x7f");
    case "Tab": return shiftKey ? "\x1b[Z" : `${escape}\t`;
    case "Escape": return `${escape}\x1b`;
    default:
  }
  if ([...key].length !== 1) return "";
  if (!ctrlKey) return escape + key;
  const upper = key.toUpperCase();
  if (upper >= "@" && upper <= "_") return escape + String.fromCharCode(upper.charCodeAt(0) & 0x1f);
  return { " ": `${escape}\0`, "?": `${escape}\x7f`, "/": `${escape}\x1f` }[key] ?? "";
}

// Pasted text: lines end as the Enter key ends them, and programs that ask are told it is pasted.
export function pasted(text, bracketed) {
  const lines = text.replace(/\r?\n/g, "\r");
  // What is pasted must not be able to say that it has ended.
  return bracketed ? `\x1b[200~${lines.replaceAll("\x1b[201~", "")}\x1b[201~` : lines;
}
