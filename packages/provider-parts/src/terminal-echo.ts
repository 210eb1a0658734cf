/** What a terminal shows of the line that lets its command begin: {@link withoutEcho}. */

/** The line, as a terminal shows it. */
const ECHO = Buffer.from('\r\n')

/** All that is shown, without the empty line at its begin, if there is one. */
export async function* withoutEcho(shown: AsyncIterator<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  let held: Buffer | undefined = Buffer.alloc(0)
  for (let next = await shown.next(); next.done !== true; next = await shown.next()) {
    if (held === undefined) {
      yield next.value
      continue
    }
    held = Buffer.concat([held, next.value])
    if (held.length < ECHO.length && ECHO.subarray(0, held.length).equals(held)) continue
    const rest: Buffer = held.subarray(0, ECHO.length).equals(ECHO) ? held.subarray(ECHO.length) : held
    held = undefined
    if (rest.length > 0) yield rest
  }
  if (held !== undefined && held.length > 0) yield held
}
