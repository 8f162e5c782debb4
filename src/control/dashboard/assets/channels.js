// The frames of exec: a byte that names the stream, then what it carries
// (v5.channel.k8s.io, KEP-4006). Pure.

export const PROTOCOL = "v5.channel.k8s.io";
export const [STDIN, STDOUT, STDERR, ERROR, RESIZE] = [0, 1, 2, 3, 4];
const CLOSE = 255;

export function frame(stream, text) {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  const out = new Uint8Array(bytes.length + 1);
  out[0] = stream;
  out.set(bytes, 1);
  return out;
}

export const size = (columns, rows) => frame(RESIZE, JSON.stringify({ Width: columns, Height: rows }));

// Says that a stream has ended.
export const close = (stream) => new Uint8Array([CLOSE, stream]);

export function read(data) {
  const bytes = new Uint8Array(data);
  return { stream: bytes[0], bytes: bytes.subarray(1) };
}

// How the command ended, from the Status in the error stream.
export function outcome(text) {
  try {
    const status = JSON.parse(text);
    if (status.status === "Success") return "The command has ended.";
    const code = (status.details?.causes || []).find((cause) => cause.reason === "ExitCode");
    return code ? `The command has ended with exit code ${code.message}.` : status.message || text;
  } catch {
    return text;
  }
}
