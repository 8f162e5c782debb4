// The board: rows are kept and moved, never built anew, so that a focused button stays focused and
// a screen reader is not read the whole table again. All text is put in as text.
import { enter, follow, fromAddress, lineNotice } from '/enter.js';

const get = (id) => document.getElementById(id);
const WORDS = {
  asks: 'Asks for help',
  stuck: 'Stuck',
  working: 'Working',
  silent: 'Joined',
  away: 'Away',
  done: 'Done',
};

let board = null;
/** Seconds by which the teacher's laptop is ahead of this clock. */
let ahead = 0;
const rows = new Map();
let asked = null;

const clock = () => Date.now() / 1000 + ahead;

/** 75 is "1:15", 4000 is "1 h 06". */
function time(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, '0');
  if (s < 3600) return `${Math.floor(s / 60)}:${two(s % 60)}`;
  return `${Math.floor(s / 3600)} h ${two(Math.floor((s % 3600) / 60))}`;
}

/** The same for ears. */
function spoken(seconds) {
  const minutes = Math.floor(seconds / 60);
  if (minutes < 1) return 'less than a minute';
  return minutes === 1 ? '1 minute' : `${minutes} minutes`;
}

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Changes text only where it differs: what does not change is not announced. */
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

async function act(what) {
  const answer = await fetch('/board/do', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(what),
  }).catch(() => null);
  if (!answer || (!answer.ok && answer.status !== 404)) {
    put(get('news'), 'That did not reach the class.');
  }
}

function newRow(id) {
  const name = make('th', { scope: 'row' });
  const state = make('span', { class: 'state' });
  const words = make('span', { class: 'words' });
  const step = make('td', { class: 'step' });
  const title = make('span');
  const lesson = make('span', { class: 'soft' });
  step.append(title, ' ', lesson);
  const seconds = make('td', { class: 'number' });
  const hints = make('td', { class: 'number hints' });
  const helped = make('button', { type: 'button' }, 'Been there');
  const remove = make('button', { type: 'button', class: 'remove' }, 'Remove');
  helped.addEventListener('click', () => act({ act: 'helped', learner: id }));
  remove.addEventListener('click', () => {
    const who = name.textContent;
    if (confirm(`Take ${who} off the board? What they did is forgotten; they can join again.`)) {
      act({ act: 'remove', learner: id });
    }
  });
  const acts = make('div', { class: 'acts' }, helped, remove);
  const tr = make('tr', {}, name, make('td', {}, state, words), step, seconds, hints,
    make('td', { class: 'acting' }, acts));
  return { tr, name, state, words, title, lesson, seconds, hints, helped, remove };
}

function fill(row, data) {
  row.data = data;
  row.tr.dataset.state = data.state;
  row.tr.dataset.learner = data.id;
  put(row.name, data.name);
  put(row.words, data.words);
  row.words.hidden = !data.words;
  if (data.step) {
    put(row.title, `${data.step} of ${data.steps}${data.stepTitle ? ` · ${data.stepTitle}` : ''}`);
  } else {
    put(row.title, data.state === 'done' ? 'all steps' : '');
  }
  const silent = data.reports ? 'has not begun' : 'does not report';
  put(row.lesson, data.lesson ? data.lessonTitle || data.lesson : silent);
  put(row.hints, data.hints ? String(data.hints) : '');
  row.helped.hidden = data.state !== 'asks';
  row.helped.setAttribute('aria-label', `Been with ${data.name}`);
  row.remove.setAttribute('aria-label', `Remove ${data.name}`);
}

/** What changes by itself. */
function tick() {
  if (!board) return;
  const passed = clock() - board.now;
  for (const row of rows.values()) {
    const data = row.data;
    let state = WORDS[data.state];
    if (data.state === 'asks') state += ` · ${time(clock() - data.askedSince)}`;
    if (data.state === 'away') state += ` · ${time(clock() - data.seen)}`;
    put(row.state, state);
    const runs = data.seconds !== null && data.state !== 'away';
    put(row.seconds, data.seconds === null ? '' : time(data.seconds + (runs ? passed : 0)));
    row.seconds.title = data.usual ? `others take ${time(data.usual)}` : '';
  }
}

function show(next) {
  board = next;
  ahead = next.now - Date.now() / 1000;
  get('enter').hidden = true;
  get('board').hidden = false;
  put(get('title'), next.title);
  document.title = `${next.title} · board`;
  put(get('code'), next.code);
  const door = get('door');
  door.hidden = false;
  put(door, next.open ? 'Let nobody new in' : 'Let newcomers in');
  const trouble = get('trouble');
  trouble.hidden = !next.trouble;
  if (next.trouble) put(trouble, `What learners do cannot be saved: ${next.trouble}. It is tried again.`);
  order(next.rows);
  sums(next);
  paces(next.lessons);
  announce(next.rows);
  tick();
}

function order(wanted) {
  const body = get('rows');
  const focused = document.activeElement;
  const seen = new Set();
  let place = body.firstElementChild;
  for (const data of wanted) {
    seen.add(data.id);
    let row = rows.get(data.id);
    if (!row) {
      row = newRow(data.id);
      rows.set(data.id, row);
    }
    fill(row, data);
    if (row.tr === place) {
      place = place.nextElementSibling;
    } else {
      body.insertBefore(row.tr, place);
    }
  }
  for (const [id, row] of rows) {
    if (!seen.has(id)) {
      row.tr.remove();
      rows.delete(id);
    }
  }
  if (focused && focused !== document.activeElement && body.contains(focused) && !focused.hidden) {
    focused.focus({ preventScroll: true });
  }
  get('nobody').hidden = wanted.length > 0;
  get('learners').hidden = wanted.length === 0;
}

function sums(next) {
  const count = (...states) => next.rows.filter((row) => states.includes(row.state)).length;
  const parts = [
    [next.rows.length, next.rows.length === 1 ? 'learner' : 'learners'],
    [count('asks'), 'ask for help'],
    [count('stuck'), 'stuck'],
    [count('working'), 'working'],
    [count('done'), 'done'],
  ];
  if (next.transfers) parts.push([next.transfers, `fetching, ${Math.round(next.rate / 1e5) / 10} MB/s`]);
  const list = get('sums');
  while (list.children.length > parts.length) list.lastElementChild.remove();
  parts.forEach(([number, word], index) => {
    const item = list.children[index] || list.appendChild(make('li', {}, make('b'), ' ', make('span')));
    put(item.children[0], String(number));
    put(item.children[1], word);
  });
}

function paces(lessons) {
  const all = lessons.filter((lesson) => lesson.paces.length);
  const box = get('paces');
  if (!all.length) {
    put(box, 'Figures come with the first steps that are done.');
    return;
  }
  if (box.children.length === 0) box.textContent = '';
  all.forEach((lesson, index) => {
    let section = box.children[index];
    if (!section || section.dataset.lesson !== lesson.name) {
      const table = make('table', {}, make('caption', { class: 'unseen' }), make('thead'), make('tbody'));
      const head = make('tr');
      for (const [word, kind] of [['Step', ''], ['Here now', 'number'], ['Done', 'number'], ['Solved for them', 'number'],
        ['Skipped', 'number'], ['Half took', 'number'], ['Nine of ten', 'number'], ['Hints', 'number']]) {
        head.append(make('th', { scope: 'col', class: kind }, word));
      }
      table.tHead.append(head);
      const made = make('section', {}, make('h3'), make('div', { class: 'wide' }, table));
      made.dataset.lesson = lesson.name;
      if (section) section.replaceWith(made);
      else box.append(made);
      section = made;
    }
    put(section.querySelector('h3'), lesson.title);
    put(section.querySelector('caption'), `Pace of ${lesson.title}`);
    const body = section.querySelector('tbody');
    lesson.paces.forEach((pace, step) => {
      const tr = body.rows[step] || body.appendChild(make('tr', {}, make('th', { scope: 'row' }),
        ...Array.from({ length: 7 }, () => make('td', { class: 'number' }))));
      const title = lesson.steps[step] ? ` · ${lesson.steps[step]}` : '';
      const values = [`${step + 1}${title}`, pace.here, pace.done, pace.solved, pace.skipped,
        pace.median === null ? '' : time(pace.median), pace.ninety === null ? '' : time(pace.ninety), pace.hints];
      values.forEach((value, cell) => put(tr.children[cell], value === 0 ? '' : String(value)));
    });
    while (body.rows.length > lesson.paces.length) body.lastElementChild.remove();
  });
  while (box.children.length > all.length) box.lastElementChild.remove();
}

/** Says once who asks, for those who do not look. */
function announce(wanted) {
  const now = new Map(wanted.filter((row) => row.state === 'asks').map((row) => [row.id, row]));
  if (asked) {
    const fresh = [...now.values()].filter((row) => !asked.has(row.id));
    if (fresh.length) {
      put(get('news'), fresh.map((row) => `${row.name} asks for help`
        + (row.seconds ? `, on the step for ${spoken(row.seconds)}` : '')).join('. '));
    }
  }
  asked = new Set(now.keys());
  const mark = now.size ? `(${now.size}) ` : '';
  document.title = `${mark}${board.title} · board`;
}

function shut() {
  get('board').hidden = true;
  get('enter').hidden = false;
  get('token').focus();
}

function begin() {
  follow({ show, line: lineNotice(get('line')), shut });
}

get('door').addEventListener('click', () => act({ act: board && board.open ? 'close' : 'open' }));
get('enter').addEventListener('submit', async (event) => {
  event.preventDefault();
  const right = await enter(get('token').value.trim()).catch(() => false);
  get('refused').hidden = right;
  if (right) begin();
});
setInterval(tick, 1000);
await fromAddress();
begin();
