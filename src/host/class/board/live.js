// The teacher's commands as they are typed. The address carries the class's token after its #.
const get = (id) => document.getElementById(id);
const MOST = 200;
const token = location.hash.slice(1);
let fresh = true;

function add(command) {
  const item = document.createElement('li');
  const code = document.createElement('code');
  code.textContent = command;
  const copy = document.createElement('button');
  copy.type = 'button';
  copy.textContent = 'Copy';
  copy.setAttribute('aria-label', `Copy ${command}`);
  copy.addEventListener('click', async () => {
    await navigator.clipboard.writeText(command);
    copy.textContent = 'Copied';
    setTimeout(() => {
      copy.textContent = 'Copy';
    }, 1500);
  });
  item.append(code, copy);
  get('commands').append(item);
  while (get('commands').children.length > MOST) get('commands').firstElementChild.remove();
}

const source = new EventSource(`/class/${encodeURIComponent(token)}/live`);
source.onopen = () => {
  fresh = true;
  get('line').hidden = true;
};
source.onmessage = (event) => {
  const atEnd = innerHeight + scrollY >= document.body.scrollHeight - 80;
  // After the line broke the class sends all it has.
  if (fresh) get('commands').textContent = '';
  fresh = false;
  JSON.parse(event.data).forEach(add);
  get('none').hidden = get('commands').children.length > 0;
  if (atEnd) scrollTo(0, document.body.scrollHeight);
};
source.onerror = () => {
  const line = get('line');
  line.hidden = false;
  line.textContent = source.readyState === EventSource.CLOSED
    ? 'The class shows no commands, or this is not its address.'
    : 'The class does not answer. This page goes on by itself when it does.';
};
