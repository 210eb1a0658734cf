// Rules over the text of one file. Pure: a file in, problems out.
import { dirname, join, normalize } from 'node:path'

/** @typedef {{ path: string, line: number, reason: string }} HouseProblem */
/** @typedef {{ path: string, text: string, exists: (path: string) => boolean, read: (path: string) => string | undefined }} HouseFile */

// Marks of unfinished work, put together here so that this file does not hold them.
const marks = ['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X', 'HA' + 'CK'].join('|')

/** @type {{ pattern: RegExp, reason: string, only?: RegExp, not?: RegExp }[]} by line */
const lineRules = [
  {
    pattern: /\b(?:registry[\w-]*|index|repo\d?|proxy|deb|static|files|pypi)\.(?!example\.)(?:[\w-]+\.)*(?:org|com|io|dev|net)\b/,
    reason: 'names a package registry: every machine has its own',
  },
  { pattern: /(?<![\w.$}])\/(?:work\/(?:main|notes|shared|\.)|root\/)/, reason: 'is a path of one machine' },
  {
    pattern: /(?<![\w&#/'"])#\d{1,5}\b|\bissues? #?\d+\b/i,
    reason: 'is a number that means nothing outside a tracker: say what it says',
    not: /\.(?:css|svg|html)$/,
  },
  { pattern: new RegExp(`\\b(?:${marks})\\b`), reason: 'is a mark of unfinished work: do it, or do not mention it' },
  { pattern: /[ \t]+$/, reason: 'has white space at its end', not: /\.(?:snap|patch|golden|txt)$/ },
  { pattern: /^(?:<{7}|>{7}) /, reason: 'is left of a merge: choose, and remove the mark' },
  { pattern: /\r$/, reason: 'ends with CR LF', not: /\.(?:snap|patch|golden)$/ },
  {
    pattern: /node:timers\/promises|new Promise.*=>\s*\{?\s*setTimeout\(|Atomics\.wait\(/,
    reason: "sleeps: wait for a cause with waitFor of @muster/test/systems/wait, or give the reason in a comment '// paced: …'",
    only: /\.test\.ts$/,
  },
  {
    pattern: /\brequireSystem\(\w+, root\)/,
    reason: 'is never there: CI runs unit tests as an ordinary user. Name the file .contract.test.ts or .integration.test.ts',
    only: /(?<!\.contract|\.integration)\.test\.ts$/,
  },
]

const lockfiles = /(?:^|\/)(?:pnpm-lock\.yaml|package-lock\.json)$/

/**
 * @param {HouseFile} file
 * @returns {HouseProblem[]}
 */
export function checkFile(file) {
  const { path, text } = file
  if (lockfiles.test(path))
    return byLine(file, [
      { pattern: /:\/\/|\btarball:|"resolved"/, reason: 'holds a download address: the lockfile names versions and hashes only' },
    ])
  const problems = byLine(file, lineRules)
  if (text !== '' && !text.endsWith('\n'))
    problems.push({ path, line: text.split('\n').length, reason: 'the file does not end with a line end' })
  if (/\.m?ts$/.test(path) && !path.endsWith('.test.ts')) problems.push(...exportedGlobals(file))
  // References are generated from the code they show.
  if (path.endsWith('.md') && !/^(?:etc|docs\/reference)\//.test(path)) problems.push(...markdown(file))
  return problems
}

/**
 * Every version is exact and stands in the catalog.
 * @param {{ path: string, text: string }[]} manifests
 * @returns {HouseProblem[]}
 */
export function checkVersions(manifests) {
  return manifests.flatMap(({ path, text }) => {
    if (!/^(?:(?:packages|apps)\/[^/]+\/|test\/)?package\.json$/.test(path)) return []
    const manifest = JSON.parse(text)
    const wanted = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies, ...manifest.peerDependencies })
    return wanted
      .filter(([, version]) => version !== 'catalog:' && version !== 'workspace:*')
      .map(([name]) => ({
        path,
        line: lineOf(text, `"${name}"`),
        reason: `${name}: write "catalog:" and the exact version in pnpm-workspace.yaml`,
      }))
  })
}

/** @param {HouseFile} file @param {typeof lineRules} rules */
function byLine({ path, text }, rules) {
  const lines = text.split('\n')
  const active = rules.filter(({ only, not }) => (only?.test(path) ?? true) && !not?.test(path))
  return lines.flatMap((content, index) =>
    active
      .filter(({ pattern, only }) => pattern.test(content) && !(only && /\/\/ paced: \S/.test(`${lines[index - 1]}\n${content}`)))
      .map(({ pattern, reason }) => ({
        path,
        line: index + 1,
        reason: `'${(pattern.exec(content)?.[0] ?? '').trim()}' ${reason}`,
      })),
  )
}

/** A name that shadows a global makes a forgotten import compile. @param {HouseFile} file */
function exportedGlobals({ path, text }) {
  const problems = []
  for (const [index, line] of text.split('\n').entries()) {
    const name = /^export (?:declare )?(?:abstract )?(?:async )?(?:class|function|const|let|interface|type)\*? (\w+)/.exec(
      line,
    )?.[1]
    if (name && (name in globalThis || typesOnly.has(name)))
      problems.push({ path, line: index + 1, reason: `the export '${name}' has the name of a global` })
  }
  return problems
}

// Globals that exist only as types, or only elsewhere than in Node.
const typesOnly = new Set([
  'Worker',
  'Record',
  'Partial',
  'Readonly',
  'Required',
  'Pick',
  'Omit',
  'Exclude',
  'Extract',
  'Awaited',
  'Parameters',
  'ReturnType',
  'Iterable',
  'Node',
  'Element',
  'Document',
])

/**
 * Docs hold no code of their own: a block of code says which tested file it comes from, as `<!-- from path#region -->` in the line
 * above, and is equal to it. Shell and output blocks are free. Relative links lead somewhere.
 * @param {HouseFile} file
 */
function markdown({ path, text, exists, read }) {
  const problems = []
  const lines = text.split('\n')
  let inside = false
  for (const [index, line] of lines.entries()) {
    const fence = /^```(\w*)/.exec(line)
    if (fence && !inside && /^(?:[cm]?[jt]sx?|typescript|javascript|ya?ml|json)$/.test(fence[1] ?? '')) {
      const end = lines.findIndex((other, at) => at > index && other.startsWith('```'))
      const reason = blockProblem(lines[index - 1] ?? '', lines.slice(index + 1, end), read)
      if (reason) problems.push({ path, line: index + 1, reason })
    }
    if (fence) inside = !inside
    if (inside) continue
    for (const [, target = ''] of line.matchAll(/\]\(([^)\s]+)\)/g)) {
      const local = target.split('#')[0] ?? ''
      if (local === '' || /^[a-z]+:/.test(local)) continue
      if (!exists(normalize(join(dirname(path), local))))
        problems.push({ path, line: index + 1, reason: `the link '${target}' leads nowhere` })
    }
  }
  return problems
}

/** @param {string} above @param {string[]} block @param {(path: string) => string | undefined} read */
function blockProblem(above, block, read) {
  const from = /^<!-- from ([^\s#]+)(?:#([\w-]+))? -->$/.exec(above)
  if (!from) return 'a block of code without a source: put <!-- from path#region --> above it'
  const [, file = '', region] = from
  const source = read(file)
  if (source === undefined) return `the source ${file} does not exist`
  const lines = source.replace(/\n$/, '').split('\n')
  const start = region ? lines.findIndex((line) => line.trim().endsWith(`#region ${region}`)) : -1
  if (region && start < 0) return `${file} has no '#region ${region}'`
  const end = region ? lines.findIndex((line, index) => index > start && line.trim().endsWith('#endregion')) : lines.length
  return dedent(lines.slice(start + 1, end)) === dedent(block)
    ? undefined
    : `the block is not what ${file}${region ? `#${region}` : ''} says`
}

/** @param {string[]} lines */
function dedent(lines) {
  const depth = Math.min(...lines.filter((line) => line.trim() !== '').map((line) => line.length - line.trimStart().length))
  return lines.map((line) => line.slice(depth)).join('\n')
}

/** @param {string} text @param {string} part */
function lineOf(text, part) {
  return text.slice(0, text.indexOf(part)).split('\n').length
}
