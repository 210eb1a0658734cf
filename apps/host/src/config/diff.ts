/** What differs between two configurations, as an operator reads it, and what that will do. Pure. */
import { isDeepStrictEqual } from 'node:util'

export interface Change {
  /** As written in the file: `pools.ci.scale.max`; for plugins `plugins.docker`. */
  path: string
  kind: 'added' | 'removed' | 'changed'
  /** As written; absent where it is not there, and where it may be secret. */
  before?: string
  after?: string
  /** What happens when it is applied. */
  effect: string
  /** It cannot change while the daemon runs. */
  restart?: true
}

/** A configuration as written, and the plugins that it means: alias → what is one and the same for one and the same plugin. */
export interface Written {
  file: unknown
  plugins: Readonly<Record<string, { version: string; digest: string }>>
}

export function diffConfig(before: Written, after: Written): Change[] {
  // What sends traces goes by the network as it was at the start; all others are told anew.
  const traced = [before, after].some(({ file }) => sendsTraces(file))
  const changes = compare([], before.file, after.file).map((change) =>
    !traced && change.path.startsWith('host.network') ? byNewProcesses(change) : change,
  )
  return [...changes, ...comparePlugins(before.plugins, after.plugins)]
}

function sendsTraces(file: unknown): boolean {
  const { host } = isTree(file) ? file : {}
  const { telemetry } = isTree(host) ? host : {}
  return isTree(telemetry) && telemetry['otlp'] !== undefined
}

function byNewProcesses({ restart: _restart, ...change }: Change): Change {
  return { ...change, effect: 'new processes of plugins that use the network take over; open calls end on the old ones' }
}

/** Sections whose entries come and go as a whole. */
const wholes = new Set(['pools', 'providers'])
/** Keys whose values may be secret, or are of no use to a reader. */
const hidden =
  /^pools\.[^.]+\.worker\.(env|settings|services)\.|^providers\.[^.]+\.config\.|^host\.telemetry\.otlp\.headers\.|^host\.network\.proxy\./
/** Keys of `host` that the daemon goes by from the next moment on; the others are used at its start only. */
const live = new Set(['reconcile', 'orphanGrace', 'plugins', 'url'])

type Tree = Readonly<Record<string, unknown>>

function compare(path: readonly string[], before: unknown, after: unknown): Change[] {
  if (isDeepStrictEqual(before, after)) return []
  const comesOrGoes = isWhole(path) && (before === undefined || after === undefined)
  if (!comesOrGoes && path.length < DEPTH && (isTree(before) || isTree(after))) {
    const [left, right] = [before, after].map((value) => (isTree(value) ? value : {})) as [Tree, Tree]
    const keys = new Set([...Object.keys(left), ...Object.keys(right)])
    return [...keys].flatMap((key) => compare([...path, key], left[key], right[key]))
  }
  return [changeOf(path, before, after)]
}

/** Whatever is below such an entry is looked at key by key: only so is it known what may be shown. */
function isWhole(path: readonly string[]): boolean {
  return path.length === 2 && wholes.has(path[0] ?? '')
}

/** Deeper than any key of ours; what a plugin nests deeper is shown as one. */
const DEPTH = 8

function changeOf(path: readonly string[], before: unknown, after: unknown): Change {
  const name = path.join('.')
  const kind = before === undefined ? 'added' : after === undefined ? 'removed' : 'changed'
  const show = !isWhole(path) && !hidden.test(`${name}.`)
  return {
    path: name,
    kind,
    ...(show && before !== undefined ? { before: shown(before) } : {}),
    ...(show && after !== undefined ? { after: shown(after) } : {}),
    ...effectOf(path, kind),
  }
}

function effectOf(path: readonly string[], kind: Change['kind']): Pick<Change, 'effect' | 'restart'> {
  const [section = '', name = '', key] = path
  if (section === 'host' && !live.has(name)) return { effect: 'needs a restart of the daemon', restart: true }
  if (section === 'providers' && key === undefined && kind === 'added') return { effect: 'a process is started for it' }
  if (section === 'providers' && key === undefined && kind === 'removed')
    return { effect: 'no new workers; it ends once its last worker is gone' }
  if (section === 'providers') return { effect: 'a new process takes over; open calls end on the old one' }
  if (section === 'pools' && key === undefined && kind === 'added') return { effect: 'a new pool' }
  if (section === 'pools' && key === undefined && kind === 'removed')
    return { effect: 'leases go on to their end; what waits fails, and idle workers end' }
  if (section === 'pools' && key === 'worker') return { effect: 'for workers made from now on' }
  if (section === 'pools' && key === 'placement')
    return { effect: 'for workers made from now on; idle ones at a provider that is left out end' }
  if (section === 'pools' && (key === 'queue' || key === 'keepFailed')) return { effect: 'for what is asked for from now on' }
  if (section === 'retention') return { effect: 'within an hour, when old records are looked through' }
  return { effect: 'at once' }
}

function comparePlugins(before: Written['plugins'], after: Written['plugins']): Change[] {
  const aliases = new Set([...Object.keys(before), ...Object.keys(after)])
  return [...aliases].flatMap((alias): Change[] => {
    const [left, right] = [before[alias], after[alias]]
    if (isDeepStrictEqual(left, right)) return []
    const kind = left === undefined ? 'added' : right === undefined ? 'removed' : 'changed'
    const files = left?.version === right?.version ? ' (other files)' : ''
    return [
      {
        path: `plugins.${alias}`,
        kind,
        ...(left === undefined ? {} : { before: left.version }),
        ...(right === undefined ? {} : { after: `${right.version}${files}` }),
        effect: kind === 'changed' ? 'new processes take over; open calls end on the old ones' : 'at once',
      },
    ]
  })
}

function shown(value: unknown): string {
  // An address may have a name and a password in it.
  return typeof value === 'string' ? value.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/?#]*@/i, '$1***@') : JSON.stringify(value)
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
