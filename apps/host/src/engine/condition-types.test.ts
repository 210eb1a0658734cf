import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { type ConditionKind, conditionKinds } from './condition-types.ts'

const committed = new URL('../../../../docs/reference/conditions.md', import.meta.url).pathname
const guide = new URL('../../../../docs/guide/troubleshoot.md', import.meta.url).pathname
const title = { host: 'Of the host', provider: 'Of a provider', pool: 'Of a pool' } as const

test('the committed reference has every condition (write it anew: `pnpm vitest run apps/host/src/engine/condition-types.test.ts -u`)', async () => {
  const kinds: [string, ConditionKind][] = Object.entries(conditionKinds)
  const sections = (['host', 'provider', 'pool'] as const).flatMap((scope) => [
    `## ${title[scope]}`,
    '',
    ...kinds
      .filter(([, kind]) => kind.scope === scope)
      .flatMap(([type, { meaning, meanwhile, mend }]) => [
        `### ${type}`,
        '',
        meaning,
        '',
        `**Meanwhile:** ${meanwhile}`,
        '',
        `**What ends it:** ${mend}`,
        '',
      ]),
  ])
  const text = [
    '# Conditions',
    '',
    'Lasting states that are worth an eye. `muster pools`, `muster providers` and `muster top` show those that hold now, `GET /v1/conditions` as JSON, and the',
    'metric `muster_conditions` counts them by type. Each has a message of its own; what stands here holds for all of its type.',
    '',
    ...sections,
  ]
  await expect(`${text.join('\n').trimEnd()}\n`).toMatchFileSnapshot(committed)
})

test('the guide says of each condition, and of no other, what to do', () => {
  const [, conditions = ''] = readFileSync(guide, 'utf8').split('\n## Conditions\n')
  const sections = conditions.split('\n### ').slice(1)
  expect(sections.map((section) => section.slice(0, section.indexOf('\n'))).sort()).toEqual(Object.keys(conditionKinds).sort())
  // At least a command to look with, and a sentence.
  for (const section of sections) expect(section).toMatch(/\n[A-Z][^]*\n```sh\n[a-z]/)
})
