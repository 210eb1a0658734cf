import { expect, test } from 'vitest'
import { metricDefinitions, metricNames } from './definitions.ts'

const committed = new URL('../../../../../docs/reference/metrics.md', import.meta.url).pathname

test('the committed reference has every metric (write it anew: `pnpm vitest run apps/host/src/observe/metrics/reference.test.ts -u`)', async () => {
  const rows = metricNames.map((name) => {
    const { kind, help, labels, buckets } = metricDefinitions[name]
    const bounds = buckets === undefined ? '' : ` Buckets: ${buckets.join(', ')}.`
    return `| \`${name}\` | ${kind} | ${labels.map((label) => `\`${label}\``).join(', ')} | ${help}${bounds} |`
  })
  const text = [
    '# Metrics',
    '',
    "`GET /metrics` answers in Prometheus' text format 0.0.4, to the role viewer. `host.metrics.public` opens it to whoever reaches the API's",
    'address, `host.metrics.listen` gives it an address of its own.',
    '',
    'Units are seconds and bytes. Labels have few values: names of the configuration and words of the code, never an id. Counters begin anew with',
    'each start of the daemon, but for `muster_journal_rows_total`. A gauge without a series has nothing to tell. Histograms have the series',
    '`_bucket`, `_sum` and `_count`.',
    '',
    '| metric | kind | labels | meaning |',
    '| --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n')
  await expect(text).toMatchFileSnapshot(committed)
})

test('names follow the conventions of Prometheus', () => {
  for (const name of metricNames) {
    const { kind, buckets, help } = metricDefinitions[name]
    expect(name).toMatch(/^(muster|process|nodejs)_[a-z]+(_[a-z]+)*$/)
    expect([name, name.endsWith('_total')]).toEqual([name, kind === 'counter'])
    expect([name, buckets !== undefined]).toEqual([name, kind === 'histogram'])
    expect(buckets ?? []).toEqual([...(buckets ?? [])].sort((a, b) => a - b))
    expect(help).toMatch(/^[A-Z1].*\.$/)
    expect(name).not.toMatch(/_(ms|millis|milliseconds|kb|mb)(_|$)/)
  }
})
