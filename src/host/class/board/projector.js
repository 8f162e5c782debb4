// For the wall: the code, how many are where, how many ask. Nobody's name.
import { follow, fromAddress, lineNotice } from '/enter.js';

const get = (id) => document.getElementById(id);
const put = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};
let shown = '';

/** The lesson most learners are in; the first, while nobody is. */
function main(board) {
  const inIt = (lesson) => lesson.paces.reduce((sum, pace) => sum + pace.here, 0);
  return [...board.lessons].sort((a, b) => inIt(b) - inIt(a))[0];
}

function show(board) {
  get('enter').hidden = true;
  put(get('title'), board.title);
  put(get('code'), board.code);
  const qr = get('qr');
  if (board.code !== shown) {
    shown = board.code;
    qr.hidden = !shown;
    if (shown) qr.src = `/board/code.svg?${encodeURIComponent(shown)}`;
  }
  const learners = board.rows.length;
  const count = (state) => board.rows.filter((row) => row.state === state).length;
  const parts = [learners === 1 ? '1 learner' : `${learners} learners`];
  if (count('done')) parts.push(`${count('done')} done`);
  if (count('asks')) parts.push(count('asks') === 1 ? '1 waits for help' : `${count('asks')} wait for help`);
  put(get('count'), parts.join(' · '));
  const lesson = main(board);
  const list = get('steps');
  const steps = lesson ? Math.max(lesson.paces.length, lesson.steps.length) : 0;
  while (list.children.length > steps) list.lastElementChild.remove();
  for (let step = 0; step < steps; step += 1) {
    let item = list.children[step];
    if (!item) {
      item = document.createElement('li');
      item.append(document.createElement('span'), document.createElement('meter'), document.createElement('b'));
      list.append(item);
    }
    const here = lesson.paces[step] ? lesson.paces[step].here : 0;
    put(item.children[0], lesson.steps[step] || `Step ${step + 1}`);
    item.children[1].max = Math.max(1, learners);
    item.children[1].value = here;
    item.children[1].setAttribute('aria-label', `${here} here`);
    put(item.children[2], here ? String(here) : '');
  }
}

await fromAddress();
follow({
  show,
  line: lineNotice(get('line')),
  shut: () => {
    get('enter').hidden = false;
  },
});
