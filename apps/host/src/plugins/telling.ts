/** Of what a plugin wrote before it fell, what says most. Pure. */

/** Node ends every crash with its version, and a stack says where, not what. */
export function tellingLine(tail: readonly string[]): string | undefined {
  const said = tail.filter((line) => !/^(Node\.js v|\s+at |[\s{}[\]()^,;]*$)/.test(line))
  const found = said.findLast((line) => /[Ee]rror/.test(line)) ?? said.at(-1)
  return found === undefined ? undefined : messageOf(found)
}

/** The message of a line of the plugin's own log, or the line as it is. */
function messageOf(line: string): string {
  try {
    const { message, msg } = JSON.parse(line) as { message?: unknown; msg?: unknown }
    return typeof message === 'string' ? message : typeof msg === 'string' ? msg : line
  } catch {
    return line
  }
}
