import type { Artifact, MusterClient, Run } from '@muster/client'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { fetchOutputs } from './outputs.ts'

let said: string[]
beforeEach(() => {
  said = []
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    said.push(String(text).trim())
    return true
  })
})
afterEach(() => vi.restoreAllMocks())

const output = (name: string, state: Artifact['state']): Artifact => ({ name, path: `in/${name}`, direction: 'out', state })
const input: Artifact = { name: 'source', path: '.', direction: 'in', state: 'dropped' }

function clientOf(run: Partial<Run>): { client: MusterClient; saved: [string, string][] } {
  const saved: [string, string][] = []
  const client = {
    runs: {
      get: async (id: string) => ({ id, state: 'ended', outcome: 'passed', artifacts: [], ...run }),
      saveOutput: async (_id: string, { name, target }: { name: string; target: string }) => {
        if (name === 'broken') throw new Error('no room')
        saved.push([name, target])
      },
    },
  }
  return { client: client as unknown as MusterClient, saved }
}

const here = { outputDir: '/there', names: [] as string[] }

test('all outputs of a run that has ended are saved, or those that are named', async () => {
  const { client, saved } = clientOf({ artifacts: [input, output('one', 'stored'), output('two', 'stored')] })
  expect(await fetchOutputs(client, 'r1', here)).toBe(0)
  expect(saved.splice(0)).toEqual([
    ['one', '/there/one'],
    ['two', '/there/two'],
  ])
  expect(await fetchOutputs(client, 'r1', { ...here, names: ['two'] })).toBe(0)
  expect(saved).toEqual([['two', '/there/two']])
  await expect(fetchOutputs(client, 'r1', { ...here, names: ['three'] })).rejects.toMatchObject({
    code: 'not-found',
    hint: 'There are: one, two.',
  })
})

test('one that is not here in the end is a failure, and keeps none of the others away', async () => {
  const artifacts = [output('none', 'missing'), output('old', 'dropped'), output('broken', 'stored'), output('good', 'stored')]
  const { client, saved } = clientOf({ artifacts })
  expect(await fetchOutputs(client, 'r1', here)).toBe(1)
  expect(saved).toEqual([['good', '/there/good']])
  expect(said.join('\n')).toMatch(
    /nothing came from in\/none[^]*old: it is kept no longer[^]*broken could not be saved[^]*no room/,
  )
})

test('a run that has not ended has none yet, and it is said how to wait', async () => {
  const { client } = clientOf({ state: 'running', artifacts: [output('one', 'awaited')] })
  await expect(fetchOutputs(client, 'r1', here)).rejects.toMatchObject({
    code: 'not-ready',
    hint: 'Follow it with: muster runs attach r1.',
  })
})
