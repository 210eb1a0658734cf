/** What the tools say: results on stdout, everything about themselves on stderr. */
export function say(text: string): void {
  process.stderr.write(`muster-plugin: ${harmless(text)}\n`)
}

export function print(text: string): void {
  process.stdout.write(`${harmless(text)}\n`)
}

/** What plugins and vendors say may not steer the terminal. */
function harmless(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, (char) =>
    char === '\n' || char === '\t' ? char : `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
