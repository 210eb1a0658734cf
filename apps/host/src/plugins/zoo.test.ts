import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Fate, type Fault, faults } from './testing/zoo/faults.ts'

const committed = join(import.meta.dirname, '../../../../docs/reference/hostile-plugins.md')

/** What everybody thinks of first: none of them may be missing. */
const least: readonly Fault[] = [
  'throws-in-a-timer',
  'leaves-a-rejection',
  'exits',
  'aborts',
  'is-shot',
  'loops-for-ever',
  'never-lets-go',
  'eats-its-heap',
  'eats-beside-its-heap',
  'opens-files-without-end',
  'forks-without-end',
  'writes-garbage',
  'announces-two-gigabytes',
  'never-ends-a-frame',
  'writes-byte-by-byte',
  'answers-what-nobody-asked',
  'answers-too-late',
  'answers-twice',
  'spoils-prototypes',
  'floods-its-output',
  'reads-what-it-may-not',
  'reads-the-database',
  'kills-its-host',
  'connects',
  'listens',
  'lies-about-itself',
  'says-what-it-may-not',
]

test('the zoo has them all, and each of them has a harm to show', () => {
  expect(Object.keys(faults)).toEqual(expect.arrayContaining([...least]))
  const harmless = Object.entries<Fate>(faults).filter(([, { harm }]) => harm === undefined)
  expect(harmless.map(([name]) => name)).toEqual(['tame'])
})

test('the page of hostile plugins says what is tried (write it anew: `pnpm vitest run apps/host/src/plugins/zoo.test.ts -u`)', async () => {
  const rows = Object.values(faults)
    .filter(({ defence }) => defence !== 'none')
    .map((one) => `| ${one.does}${needs(one)} | ${one.defence} | ${endOf(one)} | ${one.harm?.is} |`)
  expect(rows.length).toBeGreaterThanOrEqual(25)
  const page = `# Hostile plugins

Written from what the tests of the host run: a daemon with all of these plugins at once, each a locked package with one fault, and runs of
another pool beside them. No call of any of them waits for another one's: calls that do are a metric
(\`muster_provider_calls_waited_total\`), and so is the most that one turn of the host takes from a plugin. Each of them does its harm
where the same package runs without the defence.

| A plugin that … | is held by | and ends | without it |
| --- | --- | --- | --- |
${rows.join('\n')}
`
  await expect(page).toMatchFileSnapshot(committed)
})

function needs({ needs: what }: Fate): string {
  return what === undefined ? '' : what === 'root' ? ' (under root)' : ' (where control groups can be made)'
}

function endOf({ state, outcome }: Fate): string {
  if (state === 'ready') return outcome?.test('none') === true ? 'ready: nothing comes of it' : 'ready: what it tried is refused'
  if (state === 'degraded') return 'degraded, with the reason, and tried again'
  return state === 'quarantined' ? 'quarantined, with the reason' : 'failed, with the reason: it is not tried again'
}
