/** The operator's hand on pools and providers: paused, drained, disabled, and back to work. */
import { EngineError, type Wishing } from './api.ts'
import { type Context, mutate } from './context.ts'
import type { JournalRule } from './journal-rules.ts'
import type { Launcher } from './launcher.ts'
import type { Passes } from './passes.ts'
import { journal, writing } from './records.ts'
import { showWish, type Wish, type WishScope } from './wishes.ts'

export interface Hand {
  /** Without a wish it is to do its work again. The same wish with the same reason changes nothing. */
  wish(scope: WishScope, name: string, how: Wishing & { wish?: Wish }): Promise<void>
}

interface Told {
  rule: JournalRule
  decision: string
  change: string
}

const told: Readonly<Record<Wish, Told>> = {
  paused: {
    rule: 'pool-pause',
    decision: 'launches nothing and hands nothing out; leases wait, leased workers go on',
    change: 'Resume the pool.',
  },
  draining: { rule: 'pool-drain', decision: 'keeps no worker that nobody holds', change: 'Resume the pool.' },
  disabled: { rule: 'provider-disable', decision: 'takes no launch; its workers go on', change: 'Enable the provider.' },
}
const toldEnd: Readonly<Record<WishScope, Told>> = {
  pool: { rule: 'pool-resume', decision: 'works as its configuration says', change: 'Pause it or drain it.' },
  provider: { rule: 'provider-enable', decision: 'takes launches again', change: 'Disable it.' },
}

export function handOf(context: Context, parts: { passes: Passes; launcher: Launcher }): Hand {
  const { wishes, conditions, plugins, state } = context

  function namesOf(scope: WishScope): string[] {
    const pools = [...state.pools.values()].filter(({ config }) => config.placement.length > 0)
    return scope === 'pool' ? pools.map(({ config }) => config.name) : plugins.list().map((provider) => provider.name)
  }

  function known(scope: WishScope, name: string): void {
    const names = namesOf(scope)
    if (names.includes(name)) return
    const some = names.length === 0 ? `The configuration names no ${scope}.` : `There are: ${names.join(', ')}.`
    throw new EngineError('not-found', `there is no ${scope} ${name}`, { hint: `${some} \`muster ${scope}s\` shows them.` })
  }

  return {
    wish: async (scope, name, { wish, principal, reason = '' }) => {
      known(scope, name)
      await mutate(context, async (tx, after) => {
        const before = await tx
          .selectFrom('wishes')
          .selectAll()
          .where('scope', '=', scope)
          .where('name', '=', name)
          .executeTakeFirst()
        if (before?.wish === wish && (before === undefined || before.reason === reason)) return
        const w = writing(context, tx, after)
        const row = wish === undefined ? undefined : { scope, name, wish, reason, principal, at: context.clock.wall() }
        await wishes.set({ scope, name, ...(row === undefined ? {} : { wish: row }) }, tx, after)
        await journal(w, {
          ...(wish === undefined ? toldEnd[scope] : told[wish]),
          ...(scope === 'pool' ? { pool: name } : { provider: name }),
          inputs: { principal, ...(reason === '' ? {} : { reason }), ...(before === undefined ? {} : { before: before.wish }) },
        })
        after(() => {
          // It may have gone meanwhile: then nobody would take that back.
          if (namesOf(scope).includes(name)) showWish(conditions, scope, { name, wish: row })
          parts.launcher.takeBack()
          parts.passes.poke(scope === 'pool' ? name : undefined)
        })
      })
    },
  }
}
