/** What `muster why` says of a thing in an engine under test. */
import { decisionView } from '../api/views.ts'
import type { Harness } from '../engine/testing/harness.ts'
import { renderWhy, type WhyDecision } from './why.ts'

/** The text, with ids numbered in the order of their appearance and the day left out. */
export async function toldBy(
  { engine }: Pick<Harness, 'engine'>,
  { kind, id }: { kind: 'worker' | 'lease' | 'pool' | 'provider'; id: string },
): Promise<string> {
  const rows = await engine.journal.why(kind, id)
  const text = renderWhy({ kind, id }, rows.map(decisionView) as WhyDecision[])
  const names = new Map<string, string>()
  return `\n${text
    .replaceAll(/\b([wlr])[0-9a-hjkmnp-tv-z]{26}\b/g, (found, letter: string) => {
      if (!names.has(found))
        names.set(found, `${letter}${[...names.values()].filter((name) => name.startsWith(letter)).length + 1}`)
      return names.get(found) ?? found
    })
    .replaceAll(/\b[0-9a-f]{16}\b/g, 'DIGEST')}`
}
