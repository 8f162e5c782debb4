// The cells of a terminal and what moves on them. Pure. A cell is a character and a style;
// styles are shared and never changed.

const PLAIN = Object.freeze({ fore: null, back: null, bold: false, dim: false, italic: false, under: false, inverse: false, hidden: false, strike: false });
// Lines that are remembered above the screen.
const PAST = 2000;

// Cells a character takes: none for marks, two for East Asian wide ones and pictures (UAX #11).
export function widthOf(c) {
  const code = c.codePointAt(0);
  if (code < 0x300) return 1;
  if (/^[\p{Mn}\p{Me}\p{Cf}]$/u.test(c)) return 0;
  const wide = (code >= 0x1100 && code <= 0x115f) || (code >= 0x2e80 && code <= 0xa4cf) || (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) || (code >= 0xfe30 && code <= 0xfe6f) || (code >= 0xff00 && code <= 0xff60) ||
    (code >= 0x1f300 && code <= 0x1faff) || (code >= 0x20000 && code <= 0x3fffd);
  return wide ? 2 : 1;
}

export class Screen {
  constructor(columns, rows) {
    this.columns = columns;
    this.rows = rows;
    this.reset();
  }

  reset() {
    this.current = PLAIN;
    this.lines = this.#blank(this.rows);
    this.other = null;
    this.past = [];
    this.dropped = 0;
    this.row = 0;
    this.column = 0;
    this.wraps = false;
    this.top = 0;
    this.bottom = this.rows - 1;
    this.cursor = true;
    this.autowrap = true;
    this.origin = false;
    this.saved = null;
    this.last = " ";
  }

  #cell() {
    // Erasing leaves the colour behind, nothing else.
    return this.current.back === null ? BLANK : { c: " ", style: { ...PLAIN, back: this.current.back } };
  }

  #row() {
    const cell = this.#cell();
    return Array.from({ length: this.columns }, () => cell);
  }

  #blank(count) {
    return Array.from({ length: count }, () => this.#row());
  }

  put(c) {
    const width = widthOf(c);
    if (width === 0) return this.#combine(c);
    if (this.wraps || this.column + width > this.columns) {
      if (this.autowrap) {
        this.column = 0;
        this.feed();
      } else {
        this.column = Math.max(0, this.columns - width);
      }
      this.wraps = false;
    }
    const line = this.lines[this.row];
    line[this.column] = { c, style: this.current };
    if (width === 2 && this.column + 1 < this.columns) line[this.column + 1] = { c: "", style: this.current };
    this.last = c;
    this.column += width;
    if (this.column >= this.columns) {
      this.column = this.columns - 1;
      this.wraps = true;
    }
  }

  #combine(c) {
    const at = this.wraps ? this.column : this.column - 1;
    const before = this.lines[this.row][at];
    if (before && before.c.length < 16) this.lines[this.row][at] = { ...before, c: before.c + c };
  }

  repeat(n) {
    for (let i = 0; i < Math.min(n, this.columns * this.rows); i++) this.put(this.last);
  }

  feed() {
    this.wraps = false;
    if (this.row === this.bottom) this.scroll(1);
    else if (this.row < this.rows - 1) this.row += 1;
  }

  reverse() {
    this.wraps = false;
    if (this.row === this.top) this.scroll(-1);
    else if (this.row > 0) this.row -= 1;
  }

  // Moves the lines of the region up, or down if `n` is negative.
  scroll(n) {
    const height = this.bottom - this.top + 1;
    for (let i = 0; i < Math.min(Math.abs(n), height); i++) {
      if (n > 0) {
        const [gone] = this.lines.splice(this.top, 1);
        if (this.top === 0 && !this.other) this.#remember(gone);
        this.lines.splice(this.bottom, 0, this.#row());
      } else {
        this.lines.splice(this.bottom, 1);
        this.lines.splice(this.top, 0, this.#row());
      }
    }
  }

  #remember(line) {
    this.past.push(line);
    if (this.past.length > PAST) {
      this.past.shift();
      this.dropped += 1;
    }
  }

  #within(value, least, most) {
    return Math.max(least, Math.min(value, most));
  }

  to(row, column) {
    this.row = this.#within(row, 0, this.rows - 1);
    this.column = this.#within(column, 0, this.columns - 1);
    this.wraps = false;
  }

  // Absolute, or within the region if that is asked for.
  home(row, column) {
    if (this.origin) this.to(this.#within(row + this.top, this.top, this.bottom), column);
    else this.to(row, column);
  }

  // By so much; the region's edges hold who is inside.
  move(rows, columns) {
    const least = this.row >= this.top ? this.top : 0;
    const most = this.row <= this.bottom ? this.bottom : this.rows - 1;
    this.to(this.#within(this.row + rows, least, most), this.column + columns);
  }

  tab() {
    this.to(this.row, (Math.floor(this.column / 8) + 1) * 8);
  }

  region(top, bottom) {
    const [first, last] = [this.#within(top, 0, this.rows - 1), this.#within(bottom, 0, this.rows - 1)];
    [this.top, this.bottom] = first < last ? [first, last] : [0, this.rows - 1];
    this.home(0, 0);
  }

  #erase(row, from, to) {
    const cell = this.#cell();
    this.lines[row].fill(cell, Math.max(0, from), to);
    this.wraps = false;
  }

  // 0: from the cursor on, 1: up to it, 2: all, 3: what is remembered too.
  eraseDisplay(what) {
    if (what === 3) this.past = [];
    for (let row = 0; row < this.rows; row++) {
      if (row === this.row && what < 2) this.eraseLine(what);
      else if (what >= 2 || (what === 0 ? row > this.row : row < this.row)) this.#erase(row, 0, this.columns);
    }
  }

  eraseLine(what) {
    const from = what === 0 ? this.column : 0;
    this.#erase(this.row, from, what === 1 ? this.column + 1 : this.columns);
  }

  eraseCells(n) {
    this.#erase(this.row, this.column, this.column + n);
  }

  insertCells(n) {
    const line = this.lines[this.row];
    const count = Math.min(n, this.columns - this.column);
    line.splice(this.column, 0, ...Array(count).fill(this.#cell()));
    line.length = this.columns;
  }

  deleteCells(n) {
    const line = this.lines[this.row];
    const count = Math.min(n, this.columns - this.column);
    line.splice(this.column, count);
    line.push(...Array(count).fill(this.#cell()));
  }

  #inside() {
    return this.row >= this.top && this.row <= this.bottom;
  }

  insertLines(n) {
    if (!this.#inside()) return;
    for (let i = 0; i < Math.min(n, this.bottom - this.row + 1); i++) {
      this.lines.splice(this.bottom, 1);
      this.lines.splice(this.row, 0, this.#row());
    }
    this.column = 0;
  }

  deleteLines(n) {
    if (!this.#inside()) return;
    for (let i = 0; i < Math.min(n, this.bottom - this.row + 1); i++) {
      this.lines.splice(this.row, 1);
      this.lines.splice(this.bottom, 0, this.#row());
    }
    this.column = 0;
  }

  save() {
    this.saved = { row: this.row, column: this.column, current: this.current };
  }

  restore() {
    const { row, column, current } = this.saved || { row: 0, column: 0, current: PLAIN };
    this.current = current;
    this.to(row, column);
  }

  // The second screen, which editors use and which is forgotten.
  alternate(on) {
    if (on === Boolean(this.other)) return;
    if (on) {
      this.other = this.lines;
      this.lines = this.#blank(this.rows);
    } else {
      this.lines = this.other;
      this.other = null;
    }
  }

  resize(columns, rows) {
    if (columns === this.columns && rows === this.rows) return;
    const fit = (lines) => {
      for (const line of lines) {
        while (line.length < columns) line.push(BLANK);
        line.length = columns;
      }
      while (lines.length < rows) lines.push(Array(columns).fill(BLANK));
      return lines;
    };
    // The cursor's line stays in sight: what is above it goes into the past.
    for (let surplus = this.rows - rows; surplus > 0 && this.row >= rows; surplus--) {
      const gone = this.lines.shift();
      if (!this.other) this.#remember(gone);
      this.row -= 1;
    }
    this.columns = columns;
    this.rows = rows;
    this.lines.length = Math.min(this.lines.length, rows);
    fit(this.lines);
    if (this.other) {
      this.other.length = Math.min(this.other.length, rows);
      fit(this.other);
    }
    [this.top, this.bottom] = [0, rows - 1];
    this.to(this.row, this.column);
  }

  // Select Graphic Rendition.
  style(numbers) {
    let style = { ...this.current };
    for (let i = 0; i < numbers.length; i++) {
      const n = numbers[i];
      if (n === 38 || n === 48) {
        const side = n === 38 ? "fore" : "back";
        if (numbers[i + 1] === 5) style[side] = numbers[i + 2] ?? null;
        else if (numbers[i + 1] === 2) style[side] = numbers.slice(i + 2, i + 5).map((v) => v || 0);
        i += numbers[i + 1] === 5 ? 2 : 4;
      } else if (n === 0) style = { ...PLAIN };
      else if (n === 1) style.bold = true;
      else if (n === 2) style.dim = true;
      else if (n === 3) style.italic = true;
      else if (n === 4) style.under = true;
      else if (n === 7) style.inverse = true;
      else if (n === 8) style.hidden = true;
      else if (n === 9) style.strike = true;
      else if (n === 22) style.bold = style.dim = false;
      else if (n === 23) style.italic = false;
      else if (n === 24) style.under = false;
      else if (n === 27) style.inverse = false;
      else if (n === 28) style.hidden = false;
      else if (n === 29) style.strike = false;
      else if (n >= 30 && n <= 37) style.fore = n - 30;
      else if (n === 39) style.fore = null;
      else if (n >= 40 && n <= 47) style.back = n - 40;
      else if (n === 49) style.back = null;
      else if (n >= 90 && n <= 97) style.fore = n - 82;
      else if (n >= 100 && n <= 107) style.back = n - 92;
    }
    this.current = Object.freeze(style);
  }

  // A line as pieces of one style each: [{text, style}].
  static runs(line) {
    const runs = [];
    for (const { c, style } of line) {
      const last = runs[runs.length - 1];
      if (last && last.style === style) last.text += c;
      else runs.push({ text: c, style });
    }
    return runs;
  }

  static text(line) {
    return line.map((cell) => cell.c).join("").trimEnd();
  }
}

const BLANK = Object.freeze({ c: " ", style: PLAIN });
