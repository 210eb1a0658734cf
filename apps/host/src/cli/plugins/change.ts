/** `muster plugins add`, `remove`, `update` and `lock`: all end in a lock that fits the registry manifest, once somebody has agreed. */
import { createInterface } from 'node:readline/promises'
import { formatProblem, sortProblems } from '../../config/problem.ts'
import { asksForMore, type Difference } from '../../plugins/difference.ts'
import { alone } from '../../plugins/alone.ts'
import { checkFile, type Lock, type LockedVersion, lockText, replaceFile } from '../../plugins/lock.ts'
import { type LockChange, planLock, planRemoval } from '../../plugins/locking.ts'
import { PluginRefusal } from '../../plugins/refusal.ts'
import { readRegistry } from '../../plugins/registry.ts'
import { signerName } from '../../plugins/trust.ts'
import { byHand } from '../../plugins/way-out.ts'
import { inert } from '../../observe/inert.ts'
import { bytes, exits, print, printJson, say } from '../io.ts'
import { withProgress } from '../context.ts'
import { collectAfter } from './gc.ts'
import { demandKept } from './kept.ts'
import { type Site, waiverOf } from './site.ts'

export interface ChangeOptions {
  yes?: true
  dryRun?: true
  json?: true
  waive?: string
}

export interface Change {
  /** The registry manifest as it shall be; absent: as it is. */
  text?: string
  /** Aliases that are resolved anew. */
  update?: ReadonlySet<string>
  /** The alias that goes back to its version before. */
  back?: string
  /** Nothing but what `text` names no longer: the others are left as they are, whatever is wrong with them. */
  removes?: true
  /** Alias of the one plugin that `before` lets a daemon switch, which looks after its workers itself. */
  switches?: string
  /** What is done with the files as they shall be before they are written, also where nothing changes. */
  before?(files: Files): Promise<Done>
}

/** As they shall be. */
export interface Files {
  registry: string
  lock: string
  /** The lock once more. */
  next: Lock
  same: boolean
}

export interface Done {
  /** Absent: they are written. */
  stop?: number
  /** With `--json`. */
  told?: object
}

export async function change(site: Site, options: ChangeOptions, wanted: Change = {}): Promise<number> {
  const { text, update = new Set(), back, removes } = wanted
  const registry = text === undefined ? site.registry : readRegistry(text, { base: site.registry.base, shown: site.shown })
  const before = text === undefined ? site.problems : [...registry.problems, ...site.lock.problems]
  if (before.length > 0) return refuse(before.map(formatProblem), options)
  const now = Date.now()
  const from = { ...site, registry, lock: site.lock.lock }
  const anew = { update, ...(back === undefined ? {} : { back }), ...waiverOf(options.waive, now), now }
  const planned =
    removes === true ? planRemoval(from) : await withProgress('asking for the plugins …', planLock({ ...from, ...anew }))
  if (planned.problems.length > 0) return refuse(sortProblems(planned.problems).map(formatProblem), options)
  demandKept(site, planned.lock, wanted.switches)
  const locked = lockText(planned.lock)
  const same = locked === site.lock.text && (text === undefined || text === site.text)
  const agreed = same || (options.dryRun !== true && (options.yes === true || (await confirmed(planned.changes, options))))
  if (options.json !== true && (options.yes === true || options.dryRun === true))
    for (const one of planned.changes) print(shownChange(one))
  const files = { registry: text ?? site.text ?? '', lock: locked, next: planned.lock, same }
  const { done, writes } = agreed ? await written(site, files, wanted) : { done: undefined, writes: false }
  if (writes) await collectAfter(site)
  if (options.json === true) printJson({ changes: planned.changes, written: writes, ...done?.told })
  else if (same) say('the lock fits: nothing changes')
  else if (writes)
    say(`written: ${site.shown} and its lock${done === undefined ? '; a running daemon takes it over with: muster apply' : ''}`)
  else say(agreed || options.dryRun === true ? 'nothing was written' : 'nothing was written; agree with --yes')
  return done?.stop ?? (agreed || options.dryRun === true ? exits.ok : exits.failed)
}

/** Nobody else is at the files meanwhile, and they are as they were read, also when a daemon takes over first what they shall be. */
async function written(site: Site, files: Files, { text, before, switches }: Change): Promise<{ done?: Done; writes: boolean }> {
  if (files.same && before === undefined) return { writes: false }
  await using _held = await alone(site.registryFile)
  await checkFile(site.lockFile, site.lock.text)
  await checkFile(site.registryFile, site.text)
  // A daemon may have kept one since.
  demandKept(site, files.next, switches)
  const done = await before?.(files)
  const writes = !files.same && done?.stop === undefined
  if (writes) {
    // The lock may hold more than the registry manifest names, never less.
    await replaceFile(site.lockFile, { before: site.lock.text, after: files.lock })
    if (text !== undefined) await replaceFile(site.registryFile, { before: site.text, after: text })
  }
  return { writes, ...(done === undefined ? {} : { done }) }
}

function refuse(problems: readonly string[], { json }: ChangeOptions): number {
  if (json === true) printJson({ problems, written: false })
  else for (const problem of problems) print(problem)
  say('nothing was written')
  return exits.failed
}

async function confirmed(changes: readonly LockChange[], { json }: ChangeOptions): Promise<boolean> {
  if (json === true) return false
  for (const one of changes) print(shownChange(one))
  if (!process.stdin.isTTY || !process.stderr.isTTY) return false
  const asked = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^y(es)?$/i.test((await asked.question('muster: write this, and accept these permissions? [y/N] ')).trim())
  } finally {
    asked.close()
  }
}

/** As people read it: what, from which version to which, who vouches, and all that differs. */
export function shownChange({
  alias,
  package: name,
  kind,
  before,
  after,
  deprecated,
  differences,
  compared,
}: LockChange): string {
  const versions = [before?.version, after?.version].filter((one) => one !== undefined).join(' → ')
  const lines = [`${{ added: '+', removed: '-', changed: '~' }[kind]} ${alias}: ${name} ${versions}`]
  if (after !== undefined) {
    const same = before?.version === after.version && before.sha512 !== after.sha512 ? ', other bytes than before' : ''
    lines.push(`    ${bytes(after.size)}, ${after.sha512.slice(0, 24)}…${same}`)
    if (after.published !== undefined) lines.push(`    published ${after.published}`)
    lines.push(`    ${vouching(after)}`, `    conformance: ${conforming(after)}`)
  }
  if (deprecated !== undefined) lines.push(`    deprecated: ${deprecated}`)
  if (!compared) lines.push('    the one before cannot be had any more: this is all of it, not what differs')
  else if (before !== undefined && asksForMore(differences)) lines.push('    asks for more than before:')
  return [...lines, ...differences.map(shownDifference)].map(inert).join('\n')
}

/** Who vouches for it, and how. */
export function vouching({ signer, waiver }: LockedVersion): string {
  if (signer !== undefined) return `signed by ${signerName(signer)}${signer.ref === undefined ? '' : ` at ${signer.ref}`}`
  return `no signature: ${waiver?.by ?? 'nobody'} vouches for it (${waiver?.reason ?? ''})`
}

/** What the suite found, and by whose word. */
export function conforming({ conformance }: LockedVersion): string {
  if (conformance === undefined) return 'unknown, no report is packed with it'
  if (conformance.result === 'unfit') return `unknown, the report that is packed with it says nothing: ${conformance.reason}`
  const { result, passed, failed, notDeclared, suite, contract, at } = conformance
  const counts = `${passed} passed, ${failed} failed, ${notDeclared} not declared`
  const some = result === 'partial' ? ' of some tests only' : ''
  return `its author says ${result === 'partial' ? 'nothing of the whole' : result}: ${counts}${some}, by ${suite} for contract ${contract} at ${at}; nobody else has run it`
}

function shownDifference({ path, kind, before, after }: Difference): string {
  const sign = { added: '+', removed: '-', changed: '~' }[kind]
  const values = [before, after].filter((one) => one !== undefined).join(' → ')
  return `    ${sign} ${path}${values === '' ? '' : ` ${values}`}`
}

/** Changes the JSON of a registry manifest. Error: PluginRefusal where that would lose what stands in it. */
export function edited(text: string | undefined, edit: (plugins: Record<string, unknown>) => void): string {
  let file: { plugins?: Record<string, unknown> }
  try {
    file = JSON.parse(text ?? '{ "plugins": {} }') as typeof file
  } catch {
    const fix = byHand('change it by hand; then: muster plugins lock')
    throw new PluginRefusal(
      'changed-meanwhile',
      'the registry manifest is no plain JSON, and what is written in it beside would be lost',
      fix,
    )
  }
  const plugins = { ...file.plugins }
  edit(plugins)
  return `${JSON.stringify({ ...file, plugins }, null, 2)}\n`
}
