/**
 * Words of others for a terminal or a log: what would steer it, stand in another order, be seen by nobody or begin a line is shown instead, in
 * JSON's own form, so that JSON stays what it is. Pure.
 */
export function inert(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) =>
    // An escape of JSON has 16 bits: a character beyond that has two.
    char
      .split('')
      .map((unit) => String.raw`\u` + unit.charCodeAt(0).toString(16).padStart(4, '0'))
      .join(''),
  )
}
