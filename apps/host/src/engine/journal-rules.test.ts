import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { journalRules, ruleFamilies, type RuleKind, type RuleSubject } from './journal-rules.ts'

const committed = new URL('../../../../docs/reference/events.md', import.meta.url).pathname
const host = join(import.meta.dirname, '..')
const titles: Readonly<Record<RuleSubject, string>> = {
  lease: 'Of leases',
  worker: 'Of workers',
  run: 'Of runs',
  orphan: 'Of orphans',
  pool: 'Of pools',
  provider: 'Of providers',
  host: 'Of the host',
}

test('the committed reference has every event (write it anew: `pnpm vitest run apps/host/src/engine/journal-rules.test.ts -u`)', async () => {
  const all: [string, RuleKind][] = [...Object.entries(journalRules), ...ruleFamilies]
  const sections = Object.entries(titles).flatMap(([subject, title]) => [
    `## ${title}`,
    '',
    '| rule | what was decided |',
    '| --- | --- |',
    ...all.filter(([, kind]) => kind.of === subject).map(([rule, { meaning }]) => `| \`${rule}\` | ${meaning} |`),
    '',
  ])
  const text = [
    '# Events',
    '',
    'Every decision is a row of the journal, written with what it decided, and every row is an event. `muster events` shows them as they are made,',
    '`muster why` those of one run, lease, worker, pool or provider. `GET /v1/events` gives them as server-sent events of the one type `decision`, or as',
    'NDJSON, and goes on after the last one seen, without a gap, by `Last-Event-ID`. They are kept as long as `retention.journal` says;',
    'where those after the last one seen were dropped, the header `Muster-Seq` names a later number than was asked for.',
    '',
    'Each has its number `seq`, the time `at`, the `rule` that decided, the `decision` in words, the ids of what it is about (`pool`, `provider`, `worker`,',
    '`lease`, `run`), its `inputs`, and in `change` what would change it. The names of rules are stable; the words are not. The metric',
    '`muster_decisions_total` counts them by rule.',
    '',
    ...sections,
  ]
  await expect(`${text.join('\n').trimEnd()}\n`).toMatchFileSnapshot(committed)
})

test('no rule stands in the table that decides nothing', () => {
  const source = readdirSync(host, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts') && !/\.test\.|testing\/|journal-rules/.test(file))
    .map((file) => readFileSync(join(host, file), 'utf8'))
    .join('\n')
  // Made of a word of their own and of how it ends.
  const made = /^(lease-(released|cancelled|failed|expired)|condition-(raised|cleared))$/
  expect(Object.keys(journalRules).filter((rule) => !made.test(rule) && !source.includes(`'${rule}'`))).toEqual([])
})
