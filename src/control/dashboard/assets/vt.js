// A terminal's screen: what a program prints in, lines of cells out. Pure.
//
//   text ──▶ parser (ground, escape, csi, string) ──▶ screen ──▶ rows, dirty rows, answers
//
// As much of xterm as shells, editors, pagers and top use (ECMA-48, xterm's ctlseqs). What is
// not known is swallowed, never shown.

import { Screen } from "./screen.js";

const LINES = { j: "┘", k: "┐", l: "┌", m: "└", n: "┼", q: "─", t: "├", u: "┤", v: "┴", w: "┬", x: "│", a: "▒", "`": "◆", "~": "·" };

export class Terminal {
  #state = "ground";
  #text = "";
  #drawing = false;

  // `answer` gets what the terminal says to the program.
  constructor(columns, rows, answer = () => {}) {
    this.screen = new Screen(columns, rows);
    this.answer = answer;
    this.application = false;
    this.bracketed = false;
    this.title = "";
  }

  resize(columns, rows) {
    this.screen.resize(columns, rows);
  }

  write(text) {
    for (const character of text) this.#take(character);
  }

  #take(c) {
    switch (this.#state) {
      case "ground": return this.#ground(c);
      case "escape": return this.#escape(c);
      case "csi": return this.#gather(c);
      case "string": return this.#string(c);
      case "charset":
        this.#drawing = c === "0";
        this.#state = "ground";
        return undefined;
      // One character that belongs to what was not known.
      default: this.#state = "ground"; return undefined;
    }
  }

  #ground(c) {
    const screen = this.screen;
    switch (c) {
      case "\x1b": this.#state = "escape"; break;
      case "\n": case "\v": case "\f": screen.feed(); break;
      case "\r": screen.column = 0; screen.wraps = false; break;
      case "\b": screen.move(0, -1); break;
      case "\t": screen.tab(); break;
      default:
        if (c >= " " && c !== "\x7f") screen.put(this.#drawing ? LINES[c] || c : c);
    }
  }

  #escape(c) {
    const screen = this.screen;
    this.#state = "ground";
    this.#text = "";
    switch (c) {
      case "[": this.#state = "csi"; break;
      case "]": case "P": case "_": case "^": case "X": this.#state = "string"; break;
      case "(": this.#state = "charset"; break;
      case ")": case "*": case "+": case "#": case "%": case " ": this.#state = "one"; break;
      case "7": screen.save(); break;
      case "8": screen.restore(); break;
      case "D": screen.feed(); break;
      case "E": screen.column = 0; screen.feed(); break;
      case "M": screen.reverse(); break;
      case "c": screen.reset(); this.application = false; this.bracketed = false; this.#drawing = false; break;
      default:
    }
  }

  // OSC and its like end with BEL or ESC \.
  #string(c) {
    const ends = c === "\x07" || (c === "\\" && this.#text.endsWith("\x1b"));
    if (!ends) {
      // What is too long is still to be ended by the characters that come last.
      this.#text = this.#text.slice(0, 4095) + c;
      return;
    }
    this.#state = "ground";
    const told = /^[02];([^\x1b]*)/.exec(this.#text);
    if (told) this.title = told[1];
  }

  #gather(c) {
    if (c === "\x1b") {
      this.#state = "escape";
    } else if (c >= "@" && c <= "~") {
      this.#state = "ground";
      this.#csi(c, this.#text);
    } else if (c < " ") {
      this.#ground(c);
    } else if (this.#text.length < 256) {
      this.#text += c;
    }
  }

  #csi(final, text) {
    const mark = /^[<=>?]/.test(text) ? text[0] : "";
    // Intermediates make it another command.
    if (/[ !"#$%&']/.test(text)) {
      if (final === "p" && text.endsWith("!")) this.screen.reset();
      return;
    }
    const numbers = text.slice(mark.length).split(/[;:]/).map((part) => Number(part) || 0);
    if (mark === "?") return this.#mode(final, numbers);
    if (mark === ">" && final === "c") return this.answer("\x1b[>0;276;0c");
    if (mark) return;
    this.#plain(final, numbers);
  }

  #plain(final, numbers) {
    const screen = this.screen;
    const [first = 0, second = 0] = numbers;
    const n = Math.max(1, first);
    switch (final) {
      case "A": screen.move(-n, 0); break;
      case "B": case "e": screen.move(n, 0); break;
      case "C": case "a": screen.move(0, n); break;
      case "D": screen.move(0, -n); break;
      case "E": screen.column = 0; screen.move(n, 0); break;
      case "F": screen.column = 0; screen.move(-n, 0); break;
      case "G": case "`": screen.to(screen.row, n - 1); break;
      case "H": case "f": screen.home(n - 1, Math.max(1, second) - 1); break;
      case "d": screen.home(n - 1, screen.column); break;
      case "J": screen.eraseDisplay(first); break;
      case "K": screen.eraseLine(first); break;
      case "L": screen.insertLines(n); break;
      case "M": screen.deleteLines(n); break;
      case "@": screen.insertCells(n); break;
      case "P": screen.deleteCells(n); break;
      case "X": screen.eraseCells(n); break;
      case "S": screen.scroll(n); break;
      case "T": screen.scroll(-n); break;
      case "b": screen.repeat(n); break;
      case "m": screen.style(numbers); break;
      case "r": screen.region(n - 1, (second || screen.rows) - 1); break;
      case "s": screen.save(); break;
      case "u": screen.restore(); break;
      case "c": this.answer("\x1b[?62;22c"); break;
      case "n":
        if (first === 5) this.answer("\x1b[0n");
        if (first === 6) this.answer(`\x1b[${screen.row + 1};${screen.column + 1}R`);
        break;
      default:
    }
  }

  #mode(final, numbers) {
    if (final !== "h" && final !== "l") return;
    const on = final === "h";
    for (const number of numbers) {
      switch (number) {
        case 1: this.application = on; break;
        case 6: this.screen.origin = on; this.screen.home(0, 0); break;
        case 7: this.screen.autowrap = on; break;
        case 25: this.screen.cursor = on; break;
        case 47: case 1047: this.screen.alternate(on); break;
        case 1048: on ? this.screen.save() : this.screen.restore(); break;
        case 1049:
          if (on) this.screen.save();
          this.screen.alternate(on);
          if (!on) this.screen.restore();
          break;
        case 2004: this.bracketed = on; break;
        default:
      }
    }
  }
}
