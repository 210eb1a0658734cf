/** What a plugin was seen to use, beside what its manifest asks for: what is undeclared, what is not needed, and what would do. Pure. */
import type { PluginPermissions } from '@muster/core'
import { holdsNothing } from '@muster/packed/command'

export const listKinds = ['net', 'unix', 'fsRead', 'fsWrite', 'env'] as const
export type ListKind = (typeof listKinds)[number]
/** `never`: what no host lets a plugin do that it keeps in. */
export type UseKind = ListKind | 'childProcess' | 'never'

export interface Use {
  kind: UseKind
  /** An address, an absolute path, a name. */
  value: string
  /** Test in which it was seen. */
  test: string
  /** Source line, where it is known. */
  place?: string
}

export interface Where {
  /** The folder of the setup, which stands for what only a configuration names. */
  dir: string
  /** Where temporary files are. */
  temp: string
}

/** Uses that one entry of a manifest is for, and the first of them. */
export interface Used extends Use {
  /** The entry. */
  asks: string
  count: number
}

export interface Judged {
  used: Used[]
  undeclared: Used[]
  unused: { kind: ListKind | 'childProcess'; value: string; index: number; because: string }[]
  /** What would do. */
  least: PluginPermissions
}

/** `KIND:VALUE`, as `env:HOME` or `env:AWS_*`: right all the same. */
export type Excepted = (kind: UseKind, value: string) => boolean

export function judge(
  uses: readonly Use[],
  asked: PluginPermissions,
  { where, excepted }: { where: Where; excepted: Excepted },
): Judged {
  const general = (use: Use): string => generalOf(use, where)
  const isAsked = ({ kind, value }: Use, wide: string): boolean => {
    if (kind === 'never') return holdsNothing(asked)
    if (kind === 'childProcess') return asked.childProcess
    // What may be written may be read: a host gives both.
    const lists = kind === 'fsRead' ? [...asked.fsRead, ...asked.fsWrite] : asked[kind]
    return lists.some((one) => covers(kind, one, { value, wide }))
  }
  const used = [...Map.groupBy(uses, (use) => `${use.kind} ${general(use)}`).values()].flatMap((all): Used[] => {
    const [first] = all
    return first === undefined ? [] : [{ ...first, asks: general(first), count: all.length }]
  })
  // Of what one entry would be for, one part may be asked for and another not.
  const foreign = uses.filter(
    (use) => !isAsked(use, general(use)) && !excepted(use.kind, general(use)) && !excepted(use.kind, use.value),
  )
  const undeclared = used.flatMap((one): Used[] => {
    const all = foreign.filter((use) => use.kind === one.kind && general(use) === one.asks)
    return all[0] === undefined ? [] : [{ ...all[0], asks: one.asks, count: all.length }]
  })
  const unused = listKinds.flatMap((kind) =>
    asked[kind].flatMap((value, index): Judged['unused'] => {
      const because = whyUnused(kind, value, { of: uses.filter((use) => use.kind === kind), general, asked })
      return because === undefined || excepted(kind, value) ? [] : [{ kind, value, index, because }]
    }),
  )
  const isForked = uses.some(({ kind }) => kind === 'childProcess')
  if (asked.childProcess && !isForked && !excepted('childProcess', ''))
    unused.push({ kind: 'childProcess', value: 'true', index: 0, because: 'no test starts one' })
  return { used, undeclared, unused, least: leastOf(uses, { asked, unused, general, excepted }) }
}

interface Looked {
  of: readonly Use[]
  general(use: Use): string
  asked: PluginPermissions
}

function whyUnused(kind: ListKind, value: string, { of, general }: Looked): string | undefined {
  const met = of.filter((use) => covers(kind, value, { value: use.value, wide: general(use) }))
  if (met.length === 0) return 'no test uses it'
  if (!isFiles(kind) || value !== '/') return undefined
  const narrow = met.map(general)
  return narrow.includes('/') ? undefined : `all that is used lies in ${outermost(narrow).join(', ')}`
}

function leastOf(
  uses: readonly Use[],
  {
    asked,
    unused,
    general,
    excepted,
  }: { asked: PluginPermissions; unused: Judged['unused']; excepted: Excepted; general(use: Use): string },
): PluginPermissions {
  const listOf = (kind: ListKind): string[] => {
    const kept = asked[kind].filter((value) => !unused.some((one) => one.kind === kind && one.value === value))
    const more = uses
      .filter((use) => use.kind === kind && !excepted(kind, general(use)) && !excepted(kind, use.value))
      .filter((use) => !kept.some((one) => covers(kind, one, { value: use.value, wide: general(use) })))
      .map(general)
    const all = [...new Set([...kept, ...more])]
    return isFiles(kind) ? outermost(all) : all.sort(byText)
  }
  const [net, unix, fsRead, fsWrite, env] = listKinds.map(listOf) as [string[], string[], string[], string[], string[]]
  const forks = uses.some(({ kind }) => kind === 'childProcess') && !(excepted('childProcess', '') && !asked.childProcess)
  return { net, unix, fsRead, fsWrite, env, childProcess: forks || (asked.childProcess && excepted('childProcess', '')) }
}

function isFiles(kind: UseKind): boolean {
  return kind === 'fsRead' || kind === 'fsWrite'
}

/** Without those that lie in another one. */
function outermost(paths: readonly string[]): string[] {
  const all = [...new Set(paths)].sort(byText)
  return all.filter((path) => !all.some((other) => other !== path && isWithin(other, path)))
}

function byText(one: string, other: string): number {
  return one < other ? -1 : 1
}

function isWithin(folder: string, path: string): boolean {
  return folder === '/' || path === folder || path.startsWith(`${folder}/`)
}

/** Does what is asked for cover a use? `wide`: the use without what is only so in this run. */
function covers(kind: ListKind, asked: string, { value, wide }: { value: string; wide: string }): boolean {
  if (isFiles(kind)) return asked === '/' || (wide !== '/' && (isWithin(asked, value) || isWithin(asked, wide)))
  if (kind === 'net') return coversAddress(asked, value) || coversAddress(asked, wide)
  return asked === '*' || asked === value || asked === wide
}

/** `*`, `host`, `host:port` or `host:*`. */
function coversAddress(asked: string, value: string): boolean {
  if (asked === '*' || asked === value) return true
  const [host, port] = hostPort(asked)
  const [usedHost, usedPort] = hostPort(value)
  return (host === '*' || host === usedHost) && (port === '*' || port === usedPort)
}

function hostPort(text: string): [string, string] {
  const { host = text, port = '*' } = /^(?<host>.*):(?<port>\d+|\*)$/.exec(text)?.groups ?? {}
  const bare = host.replaceAll(/^\[|\]$/g, '')
  return [/^(?:localhost|127\.[\d.]+|::1)$/.test(bare) ? '127.0.0.1' : bare, port]
}

/** A number, a process, a worker: what is another one in the next run. */
const passing = /^\d+$|w[0-9a-z]{26}|[0-9a-f]{8}-[0-9a-f]{4}-/

/** What a manifest can ask for, so that a use is within it in another run and on another machine too. */
function generalOf({ kind, value }: Use, { dir, temp }: Where): string {
  if (kind === 'childProcess' || kind === 'never' || kind === 'env') return value
  if (kind === 'net') {
    const [host] = hostPort(value)
    // Vendors of tests listen where there is room.
    return host === '127.0.0.1' ? '127.0.0.1:*' : value
  }
  // Only the configuration says where that is.
  if (isWithin(dir, value)) return kind === 'unix' ? '*' : '/'
  if (isWithin('/proc', value)) return '/proc'
  if (isWithin(temp, value)) return temp
  const parts = value.split('/')
  const cut = parts.findIndex((part) => passing.test(part))
  return cut === -1 ? value : parts.slice(0, cut).join('/') || '/'
}
