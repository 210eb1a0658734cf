import { expect, test } from 'vitest'
import { oneLine, renderWhy, type WhyDecision } from './why.ts'

const decisions: WhyDecision[] = [
  {
    at: '2026-01-31T23:59:59.900Z',
    rule: 'lease-queued',
    decision: 'waits for a worker',
    pool: 'ci',
    lease: 'l1',
    inputs: { before: 3, max: 8, principal: 'local' },
    change: '',
  },
  {
    at: '2026-02-01T00:00:00.100Z',
    rule: 'launch-for-lease',
    decision: 'launch on docker',
    pool: 'ci',
    provider: 'docker',
    lease: 'l1',
    worker: 'w1',
    inputs: { passedOver: [{ provider: 'local', reason: 'no image' }] },
    change: 'an idle worker of this shape',
  },
  {
    at: '2026-02-01T00:00:01.000Z',
    rule: 'run-ended',
    decision: 'the run ended: passed',
    pool: 'ci',
    run: 'r1',
    worker: 'w1',
    inputs: {},
    change: '',
  },
]

test('when, what, by which rule, because of what, and what would change it', () => {
  expect(renderWhy({ kind: 'run', id: 'r1' }, decisions)).toMatchInlineSnapshot(`
    "2026-01-31
    23:59:59.900  waits for a worker  [lease-queued]
                  of       lease l1, pool ci
                  because  before 3 · max 8 · principal local

    2026-02-01
    00:00:00.100  launch on docker  [launch-for-lease]
                  of       worker w1, provider docker
                  because  passedOver [{"provider":"local","reason":"no image"}]
                  unless   an idle worker of this shape
    00:00:01.000  the run ended: passed  [run-ended]
    "
  `)
})

test('what is asked about is not repeated; long values are cut', () => {
  const text = renderWhy({ kind: 'pool', id: 'ci' }, [{ ...decisions[0]!, inputs: { spec: 'x'.repeat(1000) } }])
  expect(text).toContain('of       lease l1\n')
  expect(text).toContain(`spec ${'x'.repeat(240)}…`)
})

test('a reason with lines of its own forges no decision', () => {
  const forged = '\r\n23:59:59.999  released by token:admin  [lease-released]'
  const [first] = decisions
  const one = { ...first!, decision: `cancelled: x${forged}`, inputs: { reason: `y${forged}` }, change: `z${forged}` }
  const text = renderWhy({ kind: 'run', id: 'r1' }, [one])
  expect(text.split('\n').filter((line) => line.startsWith('23:59:59.999'))).toEqual([])
  expect(text.split(String.raw`\r\n23:59:59.999`)).toHaveLength(4)
  expect(oneLine('a\nb\rc')).toBe(String.raw`a\nb\rc`)
})

test('nothing decided is said', () => {
  expect(renderWhy({ kind: 'worker', id: 'w1' }, [])).toBe('nothing was decided about worker w1, or it is no longer kept\n')
})

test('a story that begins in the middle says so, and since when decisions are kept', () => {
  const droppedBefore = '2026-01-31T00:00:00.000Z'
  const kept = 'decisions are kept since 2026-01-31T00:00:00.000Z (retention.journal)'
  const told = (missing: Parameters<typeof renderWhy>[2], some = decisions): string[] =>
    renderWhy({ kind: 'run', id: 'r1' }, some, missing).split('\n')
  expect(told({ earlier: false }).slice(0, 1)).toEqual(['2026-01-31'])
  expect(told({ droppedBefore }).slice(0, 3)).toEqual([`begins in the middle: ${kept}`, '', '2026-01-31'])
  const more = 'begins in the middle: there are earlier decisions, see them with a higher --limit'
  expect(told({ earlier: true }).slice(0, 3)).toEqual([more, '', '2026-01-31'])
  expect(told({ earlier: true, droppedBefore }).slice(0, 3)).toEqual([more, `its beginning is gone: ${kept}`, ''])
  expect(told({ droppedBefore }, [])).toEqual([`nothing that was decided about run r1 is kept: ${kept}`, ''])
})

test('what is about another one of its kind says so each time: the end of that is not the end of this', () => {
  const of = (run: string, decision: string): WhyDecision => ({
    at: '2026-01-31T09:30:00.000Z',
    rule: 'run-ended',
    decision,
    worker: 'w1',
    run,
    inputs: {},
    change: '',
  })
  const text = renderWhy({ kind: 'run', id: 'r1' }, [of('r1', 'starts'), of('r2', 'starts'), of('r2', 'ends'), of('r1', 'ends')])
  expect(text.split('\n').slice(1)).toEqual([
    '09:30:00.000  starts  [run-ended]',
    '              of       worker w1',
    '09:30:00.000  starts  [run-ended]',
    '              of       run r2',
    '09:30:00.000  ends  [run-ended]',
    '              of       run r2',
    '09:30:00.000  ends  [run-ended]',
    '',
  ])
})
