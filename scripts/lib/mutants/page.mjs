// docs/mutants.md: the score of each room, and every mutant that lives, with the reason why it may.

/** Why a mutant may live: nobody could tell it from the code as it is, or not at a price worth paying. @typedef {{ file: string, from: string, instead: string, why: string }} Reason */
/** @typedef {import('./sample.mjs').Generated & { fate: import('./sample.mjs').Fate }} Tried */
/** @typedef {{ name: string, commit: string, seed: number, all: number, tried: Tried[], score: number }} Result */

/** Rooms without a result stay as they are on the page before. @param {{ rooms: string[], results: Result[], reasons: Reason[], before: string }} given */
export function mutantsPage({ rooms, results, reasons, before }) {
  const parts = rooms.flatMap((room) => {
    const result = results.find(({ name }) => name === room)
    if (result === undefined) return keptOf(before, room)
    return [{ row: rowOf(result, firstOf(before, result)), list: listOf(result, reasons) }]
  })
  return `# Mutants

Written by \`pnpm prove\`.

A mutant is a source file with one wrong change, made from its syntax by the operators of Stryker's table; texts and patterns are left as
they are. It is killed when a unit test of its room fails with it, or never ends; in plugins tests against plugin processes are asked as
well. Tests that take longer than one and a half seconds are not asked, those that do not reach it need not be.

All of them take hours, and a part was tried: the seed chooses which, so that the same seed tries the same ones of the same sources, and
a larger part holds the smaller one. The score is the share of those that were killed among those that were tried, an estimate of all, and
is written once the whole part has been tried. A row is of the sources at its commit. Tests are written after what lives, and then the
same seed scores better: *first* is its score before that, which says more of all others. What lives stands below with the reason why it
may; \`a test is missing\` is none.

| room | commit | seed | mutants | tried | killed | by time | alive | score | first |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
${parts.map(({ row }) => row).join('\n')}

${parts.map(({ list }) => list).join('\n\n')}
`
}

/** The first score of a seed: that of the page before, where it has this seed. @param {string} before @param {Result} result */
function firstOf(before, { name, seed, score }) {
  const row = before.split('\n').find((line) => line.startsWith(`| ${name} |`))
  const cells = (row ?? '').split('|').map((cell) => cell.trim())
  return cells[3] === String(seed) && cells[10] ? cells[10] : `${score} %`
}

/** @param {Result} result @param {string} first */
function rowOf({ name, commit, seed, all, tried, score }, first) {
  const byTime = tried.filter(({ fate }) => fate === 'timed out').length
  const lived = tried.filter(({ fate }) => fate === 'survived').length
  return `| ${name} | ${commit} | ${seed} | ${all} | ${tried.length} | ${tried.length - byTime - lived} | ${byTime} | ${lived} | ${score} % | ${first} |`
}

/** @param {Result} result @param {Reason[]} reasons */
function listOf({ name, tried }, reasons) {
  const lived = tried.filter(({ fate }) => fate === 'survived')
  return `## Alive in ${name}\n\n${lived.length === 0 ? 'None.' : lived.map((one) => toldOf(one, reasons)).join('\n')}`
}

/** @param {string} page @param {string} name */
function keptOf(page, name) {
  const row = page.split('\n').find((line) => line.startsWith(`| ${name} |`))
  const list = page.split(/\n(?=## )/).find((part) => part.startsWith(`## Alive in ${name}\n`))
  return row === undefined || list === undefined ? [] : [{ row, list: list.trim() }]
}

/** @param {Tried} mutant @param {Reason[]} reasons */
function toldOf(mutant, reasons) {
  const { file, line, from, instead } = mutant
  const reason = reasons.find((one) => one.file === file && one.from === from && one.instead === instead)
  return `- \`${file}:${line}\`: ${quoted(from)} became ${quoted(instead)}: ${reason?.why ?? 'a test is missing'}`
}

/** @param {string} text */
function quoted(text) {
  const flat = text.replaceAll(/\s+/g, ' ')
  const short = flat.length > 90 ? `${flat.slice(0, 89)}…` : flat
  return short === '' ? 'nothing' : `\`\` ${short} \`\``
}
