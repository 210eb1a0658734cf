import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Fate, faults } from './testing/zoo/faults.ts'

const committed = join(import.meta.dirname, '../../../../docs/reference/hostile-plugins.md')

test('the page of hostile plugins says what is tried (write it anew: `pnpm vitest run apps/host/src/plugins/zoo.test.ts -u`)', async () => {
  const rows = Object.values(faults)
    .filter(({ defence }) => defence !== 'none')
    .map((one) => `| ${one.does}${one.root === true ? ' (under root)' : ''} | ${one.defence} | ${endOf(one)} |`)
  expect(rows.length).toBeGreaterThanOrEqual(25)
  const page = `# Hostile plugins

Written from what the tests of the host run: a daemon with all of these plugins at once, each a locked package with one fault, and runs of
another pool beside them, which wait for none of them. What is refused does its harm when the same package runs without the defence.

| A plugin that … | is held by | and ends |
| --- | --- | --- |
${rows.join('\n')}
`
  await expect(page).toMatchFileSnapshot(committed)
})

function endOf({ state, outcome }: Fate): string {
  if (state === 'ready') return outcome?.test('none') === true ? 'ready: nothing comes of it' : 'ready: what it tried is refused'
  if (state === 'degraded') return 'degraded, with the reason, and tried again'
  return state === 'quarantined' ? 'quarantined, with the reason' : 'failed, with the reason: it is not tried again'
}
