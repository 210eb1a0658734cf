// All mutants of a file in one source ("mutation schemata"): each place asks while it runs which of its changes is the active one. So
// thousands are tried without reading a file again.
/** @typedef {import('./generate.mjs').Edit} Edit */
/** @typedef {import('./generate.mjs').Span} Span */
/** @typedef {{ scope: Span, edits: { edit: Edit, id: number }[] }} Place */

/** Is it this one's turn? A name that no source has. */
const isActive = '__mutant'
/** Gives what it gets. A name, since a line that begins with a bracket would go on with the line before. */
const same = '__same'

/** @param {string} source @param {{ edit: Edit, id: number }[]} changes */
export function switchedSource(source, changes) {
  /** @type {Map<string, Place>} */
  const places = new Map()
  for (const change of changes) {
    const { scope } = change.edit
    const key = `${scope.start}-${scope.end}`
    const place = places.get(key) ?? { scope, edits: [] }
    places.set(key, place)
    place.edits.push(change)
  }
  const sorted = [...places.values()].sort((a, b) => a.scope.start - b.scope.start || b.scope.end - a.scope.end)
  return textOf(source, { start: 0, end: source.length }, sorted)
}

/** Takes the places of the span from the front of those that are left. @param {string} source @param {Span} span @param {Place[]} left @returns {string} */
function textOf(source, { start, end }, left) {
  let text = ''
  let at = start
  for (let [place] = left; place !== undefined && place.scope.start < end; [place] = left) {
    left.shift()
    text += source.slice(at, place.scope.start) + switchOf(source, place, left)
    at = place.scope.end
  }
  return text + source.slice(at, end)
}

/** @param {string} source @param {Place} place @param {Place[]} left */
function switchOf(source, { scope, edits }, left) {
  const [first] = edits
  if (first?.edit.operator === 'block') {
    const inner = textOf(source, { start: scope.start + 1, end: scope.end - 1 }, left)
    return `{if(${isActive}(${first.id})){}else{${inner}}}`
  }
  const choices = edits.map(({ edit, id }) => {
    const changed = source.slice(scope.start, edit.start) + edit.instead + source.slice(edit.end, scope.end)
    return `${isActive}(${id})?(${changed}):`
  })
  return `${same}(${choices.join('')}(${textOf(source, scope, left)}))`
}

/**
 * What the switched sources ask. `hits` has a 1 for each that was asked about.
 * @param {number} count the highest number
 */
export function installSwitch(count) {
  const hits = new Uint8Array(count + 1)
  let active = 0
  Object.assign(globalThis, {
    [isActive](/** @type {number} */ id) {
      hits[id] = 1
      return id === active
    },
    [same]: (/** @type {unknown} */ value) => value,
  })
  return {
    hits,
    /** @param {number} id 0: none */
    activate(id) {
      active = id
    },
  }
}
