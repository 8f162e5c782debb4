// An object as YAML, to be read. Pure.

// What YAML 1.1 or 1.2 would take for something else than text.
const PLAIN = /^[A-Za-z_/][A-Za-z0-9_./\-]*( [A-Za-z0-9_./\-]+)*$/;
const WORDS = /^(y|n|yes|no|on|off|true|false|null|~|nan|inf)$/i;

function scalar(value) {
  if (typeof value !== "string") return JSON.stringify(value);
  return PLAIN.test(value) && !WORDS.test(value) ? value : JSON.stringify(value);
}

const isEmpty = (value) => typeof value !== "object" || value === null || Object.keys(value).length === 0;

function short(value) {
  if (Array.isArray(value)) return "[]";
  return typeof value === "object" && value !== null ? "{}" : scalar(value);
}

function lines(value, indent) {
  const pad = "  ".repeat(indent);
  if (isEmpty(value)) return [pad + short(value)];
  if (Array.isArray(value)) {
    return value.flatMap((one) => {
      const inner = lines(one, indent + 1);
      return [`${pad}- ${inner[0].trimStart()}`, ...inner.slice(1)];
    });
  }
  return Object.entries(value).flatMap(([name, one]) => {
    const key = pad + scalar(name);
    if (typeof one === "string" && one.includes("\n") && !/[^\S\n]\n|\r|\t|^\s|\n\n$/.test(one) && !/[\u0000-\u0008]/.test(one)) {
      const mark = one.endsWith("\n") ? "|" : "|-";
      const body = one.replace(/\n$/, "").split("\n");
      return [`${key}: ${mark}`, ...body.map((line) => (line ? `${pad}  ${line}` : ""))];
    }
    if (isEmpty(one)) return [`${key}: ${short(one)}`];
    return [`${key}:`, ...lines(one, indent + (Array.isArray(one) ? 0 : 1))];
  });
}

export function yaml(value) {
  return `${lines(value, 0).join("\n")}\n`;
}
