// The teacher's way in: a token from the address becomes a cookie, and then news come.

/** Asks to be let in with `token`; true if it is the teacher's. */
export async function enter(token) {
  const answer = await fetch('/board/enter', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ token }),
  });
  return answer.ok;
}

/** Takes the token out of the address, so that it is in no history and on no screen. */
export async function fromAddress() {
  const token = decodeURIComponent(location.hash.slice(1));
  if (!token) return;
  history.replaceState(null, '', location.pathname);
  await enter(token);
}

/** Calls `show` with each new board, `line` when the class is silent, `shut` when it asks who we are. */
export function follow({ show, line, shut }) {
  const source = new EventSource('/board/events');
  source.onmessage = (event) => {
    line(true);
    show(JSON.parse(event.data));
  };
  source.onerror = async () => {
    if (source.readyState !== EventSource.CLOSED) {
      line(false);
      return;
    }
    let status = 0;
    try {
      status = (await fetch('/board/data')).status;
    } catch {
      line(false);
    }
    if (status === 401) {
      line(true);
      shut();
    } else {
      setTimeout(() => follow({ show, line, shut }), 2000);
    }
  };
}

/** Shows or hides what is said of the line. */
export function lineNotice(element) {
  return (works) => {
    element.hidden = works;
    if (!works) element.textContent = 'The class does not answer. This page goes on by itself when it does.';
  };
}
