// UTF-8, which QuickJS has no TextDecoder and TextEncoder for.

/** The text of these bytes. Bytes that are not UTF-8 throw. */
export function decode(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at++];
    if (first < 0x80) {
      text += String.fromCharCode(first);
      continue;
    }
    const more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    let code = first & (0x3f >> more);
    if (first < 0xc2 || first > 0xf4) throw new TypeError("not UTF-8");
    for (let index = 0; index < more; index++) {
      const next = bytes[at++];
      // Past the end it is undefined, whose bits are no continuation either.
      if ((next & 0xc0) !== 0x80) throw new TypeError("not UTF-8");
      code = (code << 6) | (next & 0x3f);
    }
    const shortest = [0, 0x80, 0x800, 0x10000][more];
    if (code < shortest || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) throw new TypeError("not UTF-8");
    text += String.fromCodePoint(code);
  }
  return text;
}

/** The bytes of this text. */
export function encode(text) {
  const bytes = new Uint8Array(text.length * 3);
  let size = 0;
  for (const letter of text) {
    const code = letter.codePointAt(0);
    if (code < 0x80) {
      bytes[size++] = code;
    } else if (code < 0x800) {
      bytes[size++] = 0xc0 | (code >> 6);
      bytes[size++] = 0x80 | (code & 0x3f);
    } else if (code < 0x10000) {
      bytes[size++] = 0xe0 | (code >> 12);
      bytes[size++] = 0x80 | ((code >> 6) & 0x3f);
      bytes[size++] = 0x80 | (code & 0x3f);
    } else {
      bytes[size++] = 0xf0 | (code >> 18);
      bytes[size++] = 0x80 | ((code >> 12) & 0x3f);
      bytes[size++] = 0x80 | ((code >> 6) & 0x3f);
      bytes[size++] = 0x80 | (code & 0x3f);
    }
  }
  return bytes.slice(0, size);
}
