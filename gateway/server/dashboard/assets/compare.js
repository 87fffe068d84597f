// Two texts side by side, line by line.

import { h } from "./app.js";

/** JSON with a line for each member and item; other text as it is. Digits and the order of members stay. */
export function pretty(text) {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  let depth = 0;
  let made = "";
  const line = () => `\n${"  ".repeat(Math.min(depth, 32))}`;
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
  tokens.forEach((token, at) => {
    if (token === "{" || token === "[") {
      const isEmpty = tokens[at + 1] === "}" || tokens[at + 1] === "]";
      depth++;
      made += token + (isEmpty ? "" : line());
    } else if (token === "}" || token === "]") {
      depth--;
      const wasEmpty = tokens[at - 1] === "{" || tokens[at - 1] === "[";
      made += (wasEmpty ? "" : line()) + token;
    } else if (token === ",") made += token + line();
    else if (token === ":") made += ": ";
    else made += token;
  });
  return made;
}

/** Lines of both texts, each as [sign, text]: " " for what both have, "-" and "+" for what one has. */
function lines(before, after) {
  const [a, b] = [before.split("\n"), after.split("\n")];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const [x, y] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
  const head = a.slice(0, start).map((text) => [" ", text]);
  const tail = a.slice(a.length - end).map((text) => [" ", text]);
  if (x.length * y.length > 1000000) {
    return [...head, ...x.map((text) => ["-", text]), ...y.map((text) => ["+", text]), ...tail];
  }
  // The longest common subsequence of what lies between.
  const best = Array.from({ length: x.length + 1 }, () => new Uint32Array(y.length + 1));
  for (let i = x.length - 1; i >= 0; i--) {
    for (let j = y.length - 1; j >= 0; j--) {
      best[i][j] = x[i] === y[j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
    }
  }
  const made = [];
  let [i, j] = [0, 0];
  while (i < x.length || j < y.length) {
    if (i < x.length && j < y.length && x[i] === y[j]) {
      made.push([" ", x[i++]]);
      j++;
    } else if (j >= y.length || (i < x.length && best[i + 1][j] >= best[i][j + 1])) made.push(["-", x[i++]]);
    else made.push(["+", y[j++]]);
  }
  return [...head, ...made, ...tail];
}

const WORDS = { "-": "removed: ", "+": "added: " };

/** What differs, as an element. */
export function diff(before, after, label) {
  const made = h("pre", { class: "diff", tabindex: "0", role: "region", "aria-label": label });
  for (const [sign, text] of lines(pretty(before), pretty(after))) {
    const kind = sign === "+" ? "ins" : sign === "-" ? "del" : "span";
    made.append(h(kind, {}, h("span", { class: "sign", "aria-hidden": "true" }, sign), WORDS[sign] && h("span", { class: "unseen" }, WORDS[sign]), `${text}\n`));
  }
  return made;
}
