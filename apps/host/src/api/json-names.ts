/** Names in JSON, as it was sent: what is read of it has one of each. */

interface Around {
  /** Of an object with more than one: those that were seen. */
  names?: Set<string>
  /** Where in it one is now. */
  at: string | number
}

/** The place of the first name that stands twice in one object; undefined: there is none. `text` is JSON. Takes it in once, as deep as it goes. */
export function twiceIn(text: string): string[] | undefined {
  const around: Around[] = []
  let here: Around | undefined
  let [isName, isFirst] = [false, false]
  for (let from = 0; from < text.length; from++) {
    const char = text.charCodeAt(from)
    if (char === QUOTE) {
      const end = endOf(text, from)
      if (isName && here !== undefined) {
        const name = nameOf(text.slice(from, end + 1))
        if (isFirst) here.at = name
        else {
          here.names ??= new Set([String(here.at)])
          here.at = name
          if (here.names.has(name)) return around.map(({ at }) => String(at))
          here.names.add(name)
        }
        isName = isFirst = false
      }
      from = end
    } else if (char === COMMA) {
      if (typeof here?.at === 'number') here.at += 1
      else isName = true
    } else if (char === OPEN_OBJECT || char === OPEN_LIST) {
      isName = char === OPEN_OBJECT
      isFirst = isName
      here = { at: isName ? '' : 0 }
      around.push(here)
    } else if (char === CLOSE_OBJECT || char === CLOSE_LIST) {
      around.pop()
      here = around.at(-1)
      isName = isFirst = false
    }
  }
  return undefined
}

const [QUOTE, COMMA, OPEN_OBJECT, CLOSE_OBJECT, OPEN_LIST, CLOSE_LIST] = Buffer.from('",{}[]')

function nameOf(quoted: string): string {
  return quoted.includes('\\') ? (JSON.parse(quoted) as string) : quoted.slice(1, -1)
}

/** The quote that ends the text which begins at `from`: one that an even number of backslashes stands before. */
function endOf(text: string, from: number): number {
  for (let end = text.indexOf('"', from + 1); ; end = text.indexOf('"', end + 1)) {
    let before = end
    while (text[before - 1] === '\\') before -= 1
    if ((end - before) % 2 === 0) return end
  }
}
