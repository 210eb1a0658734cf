// The changelog: what changes for users is told by one file each, and put together with a release. Pure.

/** In the order in which a reader wants them (keepachangelog.com). */
const kinds = /** @type {const} */ ({
  added: 'Added',
  changed: 'Changed',
  removed: 'Removed',
  fixed: 'Fixed',
  security: 'Security',
})

/** @typedef {{ name: string, text: string }} Intent a file of `changes`: `<kind>-<what>.md` */

/**
 * What is wrong with the name or the text of an intent; undefined: nothing.
 * @param {Intent} intent
 * @returns {string | undefined}
 */
export function intentProblem({ name, text }) {
  if (!new RegExp(`^(?:${Object.keys(kinds).join('|')})-[a-z0-9-]+\\.md$`).test(name))
    return `${name}: name it <${Object.keys(kinds).join('|')}>-<what>.md`
  if (text.trim() === '' || text.trim().split('\n').length > 5) return `${name}: say it in one to five lines`
  if (text.trim().startsWith('#') || text.trim().startsWith('- ')) return `${name}: plain sentences, without a heading or a dash`
  return undefined
}

/**
 * The changelog with another release at its top.
 * @param {string} before
 * @param {{ version: string, date: string, intents: readonly Intent[] }} release
 */
export function withRelease(before, { version, date, intents }) {
  const parts = Object.entries(kinds).flatMap(([kind, title]) => {
    const mine = intents.filter(({ name }) => name.startsWith(`${kind}-`)).sort((a, b) => (a.name < b.name ? -1 : 1))
    return mine.length === 0
      ? []
      : [`### ${title}`, '', ...mine.map(({ text }) => `- ${text.trim().replaceAll('\n', '\n  ')}`), '']
  })
  const [head = '', ...rest] = before.split(/^(?=## )/m)
  return (
    [`${head.trimEnd()}\n\n`, `## ${version} (${date})\n\n${parts.join('\n').trimEnd()}\n\n`, ...rest].join('').trimEnd() + '\n'
  )
}
