import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MusterError } from '@muster/client'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, onTestFinished, test } from 'vitest'
import { parse } from 'yaml'
import { openPoolsFile, type PoolsFile } from './file.ts'
import { createKeeper } from './keeper.ts'

const entry = (provider: string): { placement: string[] } => ({ placement: [provider] })

interface Site {
  file: PoolsFile
  base: string
  /** What is in the file, by pool. */
  pools(): Promise<unknown>
  /** A daemon that refuses pools of the provider `nowhere`, and counts what it was asked. */
  client: { apply(): Promise<{ applied: boolean; changes: [] }> }
  asked(): number
  fail(error: Error | undefined): void
}

async function openSite(
  text = 'providers: { none: { plugin: "null" } } # mine\npools: { own: { placement: [none] } }\n',
): Promise<Site> {
  const folder = await tempFolder('keeper')
  onTestFinished(() => folder.remove())
  const [path, base] = [join(folder.path, 'muster.yaml'), join(folder.path, 'base.yaml')]
  await writeFile(base, text)
  let asked = 0
  let failure: Error | undefined
  const read = async (): Promise<string> => readFile(path, 'utf8')
  return {
    file: openPoolsFile(path, base),
    base,
    pools: async () => (parse(await read()) as { pools: unknown }).pools,
    asked: () => asked,
    fail: (error) => {
      failure = error
    },
    client: {
      async apply() {
        asked++
        if (failure !== undefined) throw failure
        if ((await read()).includes('nowhere')) throw new MusterError('config-refused', 'no provider nowhere')
        return { applied: true, changes: [] }
      },
    },
  }
}

test('the file is the base, with the pools; what is in force is asked for once', async () => {
  const { file, client, pools, asked } = await openSite()
  const keeper = await createKeeper({ client, file })
  expect(await pools()).toEqual({ own: entry('none') })
  const wanted = new Map([['ci', entry('none')]])
  for (const _ of [1, 2]) expect(await keeper.settle(await file.base(), wanted)).toEqual({ inForce: wanted, refused: new Map() })
  expect(asked()).toBe(1)
  expect(await pools()).toEqual({ own: entry('none'), ci: entry('none') })
  expect(await readFile(file.path, 'utf8')).toContain('# mine')
})

test('what is refused stays as it was, and is not asked for again until it changes or some time has gone', async () => {
  const { file, client, pools, asked } = await openSite()
  let now = 0
  const keeper = await createKeeper({ client, file, clock: () => now })
  const base = await file.base()
  await keeper.settle(base, new Map([['a', entry('none')]]))
  const wanted = new Map([
    ['a', entry('nowhere')],
    ['b', entry('nowhere')],
    ['c', entry('none')],
  ])
  const settled = await keeper.settle(base, wanted)
  expect([...settled.refused]).toEqual([
    ['a', 'no provider nowhere'],
    ['b', 'no provider nowhere'],
  ])
  expect(await pools()).toEqual({ own: entry('none'), a: entry('none'), c: entry('none') })
  const before = asked()
  await keeper.settle(base, wanted)
  expect(asked()).toBe(before)
  now = 300_001
  await keeper.settle(base, wanted)
  expect(asked()).toBeGreaterThan(before)
  const mended = await keeper.settle(base, new Map([...wanted, ['b', entry('none')], ['a', entry('none')]]))
  expect(mended.refused.size).toBe(0)
  expect(await pools()).toEqual({ own: entry('none'), a: entry('none'), b: entry('none'), c: entry('none') })
})

test('a base that is refused changes nothing, and is told of every pool', async () => {
  const { file, client, pools, base } = await openSite()
  const keeper = await createKeeper({ client, file })
  const wanted = new Map([['a', entry('none')]])
  await keeper.settle(await file.base(), wanted)
  await writeFile(base, 'pools: { own: { placement: [nowhere] } }\n')
  const settled = await keeper.settle(await file.base(), wanted)
  expect([...settled.refused]).toEqual([['a', 'the base configuration: no provider nowhere']])
  expect(await pools()).toEqual({ own: entry('none'), a: entry('none') })
})

test('after a failure, and after a death in the middle, the file is what it was', async () => {
  const { file, client, pools, fail } = await openSite('pools: {}\n')
  const keeper = await createKeeper({ client, file })
  await keeper.settle(await file.base(), new Map([['a', entry('none')]]))
  fail(new MusterError('unreachable', 'nobody answers'))
  await expect(keeper.settle(await file.base(), new Map())).rejects.toThrow('nobody answers')
  expect(await pools()).toEqual({ a: entry('none') })

  await file.tryOut('pools: { bad: {} }\n')
  const next = await createKeeper({ client, file })
  expect([...next.inForce]).toEqual([['a', entry('none')]])
  expect(await pools()).toEqual({ a: entry('none') })
})

test.each([
  ['[', /is not YAML/],
  ['text', /is no configuration/],
])('a base of %j is told', async (text, words) => {
  const { file } = await openSite(text)
  await expect(file.base()).rejects.toThrow(words)
})
