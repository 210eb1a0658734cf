/** What workers may take of an engine together, on an engine in memory. */
import type { LaunchSpec, SpecField } from '@muster/core'
import { expect, test } from 'vitest'
import manifest from '../../muster-plugin.json' with { type: 'json' }
import { parseConfig } from '../config.ts'
import { callOf } from '../testing/harness.test.helper.ts'
import { type DockerProvider, dockerProvider } from '../provider.ts'
import type { RoomLimits } from '../room-limits.ts'
import { type Scripted, scriptedEngine, specOf, tags } from '../testing/scripted.test.helper.ts'

const GiB = 2 ** 30

function bounded(room: RoomLimits, scripted: Scripted = scriptedEngine(), owner = 'o'): DockerProvider {
  const context = { owner, provider: 'docker', now: () => Date.now() }
  const fields = manifest.capabilities.fields as SpecField[]
  return dockerProvider({ endpoint: { socketPath: '/x' }, context, fields, room, engine: scripted.engine })
}

const worker = (last: string, parts: Partial<LaunchSpec> = {}): LaunchSpec => {
  const id = `w0123456789abcdefghijklmno${last}`
  return specOf({ id, tags: { ...tags, 'muster-worker': id }, ...parts })
}
const memory = (last: string, gib: number, parts: Partial<LaunchSpec> = {}): LaunchSpec =>
  worker(last, { resources: { memoryBytes: gib * GiB }, ...parts })

test('of launches in one moment as many as there are slots go, and the others go elsewhere, with nothing made', async () => {
  const scripted = scriptedEngine()
  const provider = bounded({ slots: 3 }, scripted)
  const all = ['1', '2', '3', '4', '5', '6'].map((last) => worker(last))
  const ended = await Promise.allSettled(all.map((spec) => provider.launch(spec, callOf())))
  expect(ended.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled', 'rejected', 'rejected', 'rejected'])
  expect(ended[5]).toMatchObject({
    reason: { code: 'capacity', effect: 'none', message: expect.stringContaining('all 3 slots are taken') as string },
  })
  expect(scripted.containers.size).toBe(3)
  expect(await provider.headroom(callOf())).toMatchObject({ slots: { free: 0, total: 3 } })
})

test('a launch that is repeated needs no room beside its own, and an ended worker leaves its', async () => {
  const scripted = scriptedEngine()
  const provider = bounded({ slots: 1 }, scripted)
  const first = worker('1')
  await provider.launch(first, callOf())
  await provider.launch(first, callOf())
  await expect(provider.launch(worker('2'), callOf())).rejects.toMatchObject({ code: 'capacity' })
  const [container] = scripted.containers.values()
  if (container !== undefined) container.status = 'exited'
  await provider.launch(worker('2'), callOf())
})

test('memory counts services too, and the workers of another host on the same engine', async () => {
  const scripted = scriptedEngine()
  const beside = { services: [{ name: 's', image: 'i' }] }
  await bounded({}, scripted, 'another').launch(
    { ...memory('1', 1, beside), tags: { ...tags, 'muster-owner': 'another', 'muster-worker': memory('1', 1).id } },
    callOf(),
  )
  const provider = bounded({ memoryBytes: 4 * GiB }, scripted)
  await expect(provider.launch(memory('2', 3), callOf())).rejects.toMatchObject({
    code: 'capacity',
    effect: 'none',
    message: expect.stringContaining(`${2 * GiB} of ${4 * GiB} bytes of memory are taken`) as string,
  })
  await provider.launch(memory('3', 2), callOf())
})

test('a worker that would never fit, or says nothing of what is counted, is refused for good', async () => {
  const provider = bounded({ memoryBytes: 4 * GiB, cpu: 4 })
  const spec = worker('1', { resources: { memoryBytes: 5 * GiB, cpu: 1 } })
  await expect(provider.launch(spec, callOf())).rejects.toMatchObject({ code: 'unsupported', path: 'resources.memoryBytes' })
  await expect(provider.launch(memory('2', 1), callOf())).rejects.toMatchObject({ code: 'unsupported', path: 'resources.cpu' })
})

test('the configuration says sizes as the other parts do', () => {
  expect(parseConfig({ room: { slots: 8, cpu: 7.5, memory: '48GiB' } }).room).toEqual({
    slots: 8,
    cpu: 7.5,
    memoryBytes: 48 * GiB,
  })
  expect(() => parseConfig({ room: { memory: '48' } })).toThrow(expect.objectContaining({ path: 'config.room.memory' }) as Error)
})
