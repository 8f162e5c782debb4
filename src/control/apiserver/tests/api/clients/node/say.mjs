// What the scripts beside this file share: the connection, and saying what is expected.
import assert from 'node:assert/strict';
import * as k8s from '@kubernetes/client-node';

export const config = new k8s.KubeConfig();
config.loadFromDefault();
export const same = assert.deepEqual;
export const has = (text, ...words) => {
  for (const word of words) assert(text.includes(word), `no ${word} in ${text}`);
};

/// Waits for what must be refused; gives the Status.
export async function refused(code, reason, promise) {
  let answer;
  try {
    answer = await promise;
  } catch (error) {
    const body = typeof error.body === 'string' ? JSON.parse(error.body) : error.body;
    same([error.code, body?.kind, body?.reason], [code, 'Status', reason], String(error));
    return body.message;
  }
  assert.fail(`not refused: ${JSON.stringify(answer)}`);
}

/// Runs the parts one after the other. Nothing may go wrong behind their backs.
export async function play(...parts) {
  process.on('unhandledRejection', (error) => { throw error; });
  for (const part of parts) {
    console.log(part.name);
    await part();
  }
  console.log('all is well');
  process.exit(0);
}

/// Promises of events told by callbacks, in order.
export class Heard {
  told = [];
  waiting = [];
  tell(what) {
    const first = this.waiting.shift();
    if (first) first(what); else this.told.push(what);
  }
  next() {
    if (this.told.length) return Promise.resolve(this.told.shift());
    return new Promise((resolve) => this.waiting.push(resolve));
  }
}
