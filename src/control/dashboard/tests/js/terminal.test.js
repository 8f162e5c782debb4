// A terminal shows what a real one would, and sends the keys that programs expect.

import assert from "node:assert/strict";
import { test } from "node:test";

import { close, frame, outcome, read, size } from "../../assets/channels.js";
import { pasted, sequence } from "../../assets/keys.js";
import { Screen } from "../../assets/screen.js";
import { Terminal } from "../../assets/vt.js";

function shown(text, columns = 10, rows = 4) {
  const answers = [];
  const terminal = new Terminal(columns, rows, (answer) => answers.push(answer));
  terminal.write(text);
  return { terminal, screen: terminal.screen, lines: terminal.screen.lines.map(Screen.text), answers };
}

test("lines wrap, scroll and are remembered", () => {
  assert.deepEqual(shown("hello\r\nworld").lines, ["hello", "world", "", ""]);
  assert.deepEqual(shown("0123456789ab").lines, ["0123456789", "ab", "", ""]);
  assert.deepEqual(shown("0123456789\r\nx").lines, ["0123456789", "x", "", ""]);
  const { lines, screen } = shown("1\r\n2\r\n3\r\n4\r\n5");
  assert.deepEqual(lines, ["2", "3", "4", "5"]);
  assert.deepEqual(screen.past.map(Screen.text), ["1"]);
});

test("a shell edits its line", () => {
  assert.deepEqual(shown("$ lss\b \b\r$ ls\x1b[K -l").lines[0], "$ ls -l");
  assert.equal(shown("abc\x1b[2D\x1b[@X").lines[0], "aXbc");
  assert.equal(shown("abcd\x1b[3D\x1b[2P").lines[0], "ad");
  assert.equal(shown("a\tb").lines[0], "a       b");
});

test("an editor has a screen of its own and gives the old one back", () => {
  const { terminal } = shown("$ vi");
  terminal.write("\x1b[?1049h\x1b[2J\x1b[H~ edit\x1b[4;1Hstatus");
  assert.deepEqual(terminal.screen.lines.map(Screen.text), ["~ edit", "", "", "status"]);
  terminal.write("\x1b[?1049l");
  assert.equal(Screen.text(terminal.screen.lines[0]), "$ vi");
  assert.equal(terminal.screen.column, 4);
});

test("regions scroll alone, lines come and go", () => {
  assert.deepEqual(shown("a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[3;1H\n").lines, ["a", "c", "", "d"]);
  assert.deepEqual(shown("a\r\nb\r\nc\x1b[1;1H\x1b[L").lines, ["", "a", "b", "c"]);
  assert.deepEqual(shown("a\r\nb\r\nc\x1b[1;1H\x1b[M").lines, ["b", "c", "", ""]);
  assert.deepEqual(shown("a\x1bM").lines, ["", "a", "", ""]);
});

test("colours are kept, and titles and unknown words are not shown", () => {
  const { screen, lines, terminal } = shown("\x1b]0;top\x07\x1b[1;31mred\x1b[0m ok\x1b[38;5;208mo\x1b[48;2;1;2;3mb\x1b[>4;2m\x1bP1$r\x1b\\", 20);
  assert.equal(lines[0], "red okob");
  assert.equal(terminal.title, "top");
  const runs = Screen.runs(screen.lines[0]);
  assert.deepEqual(runs.map((run) => [run.text.trim(), run.style.fore, run.style.bold]).slice(0, 3), [["red", 1, true], ["ok", null, false], ["o", 208, false]]);
  assert.deepEqual(runs[3].style.back, [1, 2, 3]);
});

test("words of any length end where they end", () => {
  const long = "x".repeat(10_000);
  assert.equal(shown(`\x1b]52;c;${long}\x1b\\a\x1bP${long}\x1b\\b`).lines[0], "ab");
});

test("programs that ask are answered", () => {
  assert.deepEqual(shown("\x1b[2;3H\x1b[6n\x1b[5n").answers, ["\x1b[2;3R", "\x1b[0n"]);
  assert.match(shown("\x1b[c").answers[0], /^\x1b\[\?/);
});

test("wide and combined characters take their cells", () => {
  const { screen, lines } = shown("漢e\u0301x");
  assert.equal(lines[0], "漢e\u0301x");
  assert.equal(screen.column, 4);
});

test("another size keeps the cursor's line", () => {
  const { terminal } = shown("1\r\n2\r\n3\r\n4");
  terminal.resize(6, 2);
  assert.deepEqual(terminal.screen.lines.map(Screen.text), ["3", "4"]);
  terminal.resize(12, 3);
  terminal.write("x");
  assert.deepEqual(terminal.screen.lines.map(Screen.text), ["3", "4x", ""]);
});

test("whatever comes, the screen keeps its size", () => {
  let seed = 7;
  const random = (n) => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed % n; };
  const parts = ["\x1b[", ";", "9", "38", "5", "m", "H", "J", "K", "L", "M", "P", "@", "r", "S", "T", "\n", "\r", "x", "漢", "\x1b", "?1049h", "?1049l", "X", "b", "\x1bM", "\x1bc"];
  for (let round = 0; round < 200; round++) {
    const terminal = new Terminal(1 + random(12), 1 + random(6));
    for (let n = 0; n < 60; n++) {
      terminal.write(parts[random(parts.length)]);
      if (n === 30) terminal.resize(1 + random(12), 1 + random(6));
    }
    const { lines, columns, rows, row, column } = terminal.screen;
    assert.equal(lines.length, rows);
    assert.ok(lines.every((line) => line.length === columns && line.every((cell) => cell)));
    assert.ok(row < rows && column < columns && row >= 0 && column >= 0);
  }
});

test("keys are what xterm sends", () => {
  const key = (name, more = {}, modes) => sequence({ key: name, ...more }, modes);
  assert.deepEqual(
    [key("a"), key("ä"), key("Enter"), key("Backspace"), key("Tab", { shiftKey: true }), key("ArrowUp"), key("ArrowUp", {}, { application: true })],
    ["a", "ä", "\r", "\x7f", "\x1b[Z", "\x1b[A", "\x1bOA"],
  );
  assert.deepEqual(
    [key("c", { ctrlKey: true }), key("ArrowLeft", { ctrlKey: true }), key("b", { altKey: true }), key("F5"), key("Delete"), key(" ", { ctrlKey: true })],
    ["\x03", "\x1b[1;5D", "\x1bb", "\x1b[15~", "\x1b[3~", "\0"],
  );
  for (const none of [key("Shift"), key("Dead"), key("V", { ctrlKey: true, shiftKey: true }), key("c", { metaKey: true })]) assert.equal(none, "");
  assert.equal(pasted("a\nb\x1b[201~c", true), "\x1b[200~a\rbc\x1b[201~");
  assert.equal(pasted("a\r\nb", false), "a\rb");
});

test("frames name their stream, and the end is told in words", () => {
  assert.deepEqual([...frame(0, "ä")], [0, 0xc3, 0xa4]);
  assert.equal(new TextDecoder().decode(size(80, 24).subarray(1)), '{"Width":80,"Height":24}');
  assert.deepEqual([...close(0)], [255, 0]);
  assert.deepEqual([...read(new Uint8Array([1, 2, 3]).buffer).bytes], [2, 3]);
  assert.equal(outcome('{"status":"Success"}'), "The command has ended.");
  assert.match(outcome('{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}'), /exit code 3/);
  assert.equal(outcome("gone"), "gone");
});
