// Commands in pods, their main process, their ports, their files and what they say.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { once } from 'node:events';
import * as k8s from '@kubernetes/client-node';
import { config, has, play, same } from './say.mjs';

const namespace = 'default';

/// A stream that keeps what it is given.
function collector() {
  const stream = new PassThrough();
  stream.text = '';
  stream.on('data', (part) => { stream.text += part; });
  return stream;
}

/// Resolves when the text holds these words.
function says(stream, words) {
  return new Promise((resolve) => {
    const look = () => {
      if (!stream.text.includes(words)) return;
      stream.off('data', look);
      resolve();
    };
    stream.on('data', look);
    look();
  });
}

function run(script, stdin = null) {
  const [stdout, stderr] = [collector(), collector()];
  return new Promise((resolve, reject) => {
    new k8s.Exec(config).exec(namespace, 'web', 'c', ['sh', '-c', script], stdout, stderr, stdin,
      false, (status) => {
        const end = () => resolve({ out: stdout.text, err: stderr.text, status });
        if (stdout.readableEnded) end(); else stdout.once('end', end);
      }).catch(reject);
  });
}

async function commands() {
  const failed = await run('echo out; echo err >&2; exit 7');
  same([failed.out, failed.err, failed.status.status], ['out\n', 'err\n', 'Failure']);
  same([failed.status.reason, failed.status.details.causes[0].message], ['NonZeroExitCode', '7']);
  same((await run('true')).status.status, 'Success');
  const big = await run('head -c 2000000 /dev/zero | tr "\\0" x');
  same(big.out.length, 2_000_000);
  // The end of the input is told, for this library speaks the fifth protocol.
  const counted = await run('wc -c', Readable.from([Buffer.alloc(70_000), Buffer.alloc(30_000)]));
  same(counted.out.trim(), '100000');
}

async function unhappy() {
  for (const [pod, container] of [['nothing', 'c'], ['two', 'nosuch']]) {
    const refused = new k8s.Exec(config).exec(
      namespace, pod, container, 'true', collector(), collector(), null, false);
    await assert.rejects(refused);
  }
}

async function attached() {
  const [stdin, stdout] = [new PassThrough(), collector()];
  const socket = await new k8s.Attach(config).attach(
    namespace, 'web', 'c', stdout, collector(), stdin, false);
  same(socket.protocol, 'v5.channel.k8s.io');
  stdin.write('to the main process\n');
  await says(stdout, 'to the main process\n');
  socket.close();
}

async function forwarded() {
  const [stdin, stdout, errors] = [new PassThrough(), collector(), collector()];
  const forward = new k8s.PortForward(config);
  const socket = await forward.portForward(
    namespace, 'web', [Number(process.env.ECHO_PORT)], stdout, errors, stdin);
  stdin.write('through the tunnel');
  await says(stdout, 'through the tunnel');
  const large = 'x'.repeat(500_000);
  stdin.write(large);
  await says(stdout, large);
  same(errors.text, '');
  socket.close();

  const told = collector();
  const closed = await forward.portForward(
    namespace, 'web', [Number(process.env.CLOSED_PORT)], collector(), told, new PassThrough());
  await says(told, 'refused');
  closed.close();
}

async function said() {
  const lines = collector();
  const log = new k8s.Log(config);
  await log.log(namespace, 'web', 'c', lines, { tailLines: 1 });
  if (!lines.readableEnded) await once(lines, 'end');
  same(lines.text, 'two\n');
  const followed = collector();
  const controller = await log.log(namespace, 'web', 'c', followed, { follow: true });
  await says(followed, 'one\ntwo\n');
  followed.on('error', () => {});
  controller.abort();
}

async function copied() {
  const here = fs.mkdtempSync(path.join(process.cwd(), 'copied-'));
  const [from, pod] = ['from', 'pod'].map((name) => path.join(here, name));
  for (const folder of [from, pod]) fs.mkdirSync(folder);
  fs.writeFileSync(path.join(from, 'letter'), 'dear reader');
  // The library resolves before the copy is whole; only the end of the socket tells.
  const whole = new Promise((resolve, reject) => {
    class Told extends k8s.Exec {
      async exec(...given) {
        const opening = super.exec(...given);
        opening.then((socket) => socket.on('close', resolve), reject);
        return opening;
      }
    }
    new k8s.Cp(config, new Told(config)).cpToPod(namespace, 'web', 'c', from, pod);
  });
  await whole;
  same(fs.readFileSync(path.join(pod, 'letter'), 'utf8'), 'dear reader');
}

await play(commands, unhappy, attached, forwarded, said, copied);
