/** Two aliases may be two versions of one package, or the same bytes twice; never the same version with different bytes. Pure. */
import type { Loaded } from '../config/document.ts'
import type { Problem } from '../config/problem.ts'
import type { Lock } from './lock.ts'
import { byHand } from './way-out.ts'

export interface Clash {
  /** `name@version`. */
  of: string
  /** The alias that came first. */
  other: string
  alias: string
}

export function clashProblem({ of, other, alias }: Clash, at: Loaded<unknown>['problem']): Problem {
  return at(['plugins', alias], {
    at: 'key',
    code: 'clash',
    reason: `the aliases '${other}' and '${alias}' clash: both are ${of}, with different files`,
    fix: byHand('use one source for both, or give one another version', at([], { reason: '', fix: '' }).file),
  })
}

/** Those of a lock, which a start would refuse. */
export function clashesIn({ plugins }: Lock): Clash[] {
  const seen = new Map<string, { alias: string; sha512: string }>()
  return Object.entries(plugins).flatMap(([alias, { package: name, version, sha512 }]) => {
    const of = `${name}@${version}`
    const first = seen.get(of) ?? { alias, sha512 }
    seen.set(of, first)
    return first.sha512 === sha512 ? [] : [{ of, other: first.alias, alias }]
  })
}
