/** What workers were given by a host before this one is as unseen as what this one gives: it is known before a plugin can say it. */
import { randomUUID } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, expect, test } from 'vitest'
import { givenBefore } from '../engine/given.ts'
import { leaseRequest, openHarness, poolConfig } from '../engine/testing/harness.ts'
import { ticketOf } from '../engine/proofs.ts'
import { startPlugins } from './room.ts'
import { configureFixture } from './testing/configure.ts'
import { packFixture } from './testing/package.ts'

const disposals: (() => unknown)[] = []
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
})

const lines: string[] = []
const noted = (data: object, line: string): void => void lines.push(`${line} ${JSON.stringify(data)}`)
const log = { debug: noted, info: noted, warn: noted, error: noted }
const canary = (name: string): string => `canary ${name} ${randomUUID()}`

test('a canary is in no line and no crash bundle of a plugin that starts with the next host', async () => {
  const folder = await tempFolder('given')
  disposals.push(() => folder.remove())
  const [env, wish, file, run, other] = ['env', 'wish', 'file', 'run', 'other'].map(canary) as [
    string,
    string,
    string,
    string,
    string,
  ]
  const h = await openHarness({
    pools: [
      poolConfig({
        placement: ['p'],
        work: 'agent',
        worker: { env: { A: env }, files: [{ path: 'f', base64: Buffer.from(file).toString('base64') }] },
      }),
      poolConfig({ name: 'elsewhere', placement: ['q'], work: 'hold', worker: { env: { A: other } } }),
    ],
    providers: [{ name: 'p', capabilities: { work: ['agent'] } }, { name: 'q' }],
    engine: { urls: { p: 'http://127.0.0.1:1' } },
  })
  disposals.push(() => h.close())
  await h.engine.leases.request(leaseRequest({ requirements: { env: { B: wish } } }))
  await h.engine.leases.request(leaseRequest({ pool: 'elsewhere' }))
  await h.pass(1000)
  const [worker = ''] = h.provider('p').vendor.made
  const id = `r${'1'.repeat(26)}`
  const request = JSON.stringify({ command: ['true'], env: { C: run }, requirements: {}, stdin: false, inputs: [], outputs: [] })
  await h.engine.store.write((tx) =>
    tx
      .insertInto('runs')
      .values({
        id,
        kind: 'run',
        pool: 'ci',
        lease_id: null,
        worker_id: worker,
        state: 'running',
        rev: 1,
        request: '{}',
        request_sealed: h.engine.sealer.seal(request, `run:${id}`),
        principal: 'tester',
        exec_id: null,
        created_at: 1,
        queued_at: 1,
        started_at: 1,
        ended_at: null,
        deadline: null,
        cancel_requested: 0,
        outcome: null,
        exit: null,
        reason: null,
        artifacts: '[]',
      })
      .execute(),
  )

  const own = [env, wish, file, run, ticketOf(h.engine.sealer, worker)]
  const notes = join(folder.path, 'notes')
  await writeFile(notes, `${[...own, other].map((one) => `noted: ${one}`).join('\n')}\n`)
  await packFixture(join(folder.path, 'plugin'))
  const site = { data: folder.path, folder: join(folder.path, 'plugin'), providers: { p: { knobs: { notes } } } }
  const room = startPlugins({
    ...(await configureFixture(site)),
    owner: 'me',
    fence: { epoch: () => 4, mayAct: () => true },
    log,
    given: (provider) => givenBefore(provider, h.engine),
  })
  disposals.push(() => room.stop())
  await waitFor('its notes', () => lines.filter((line) => line.startsWith('noted: ')).length === own.length + 1)
  const provider = room.provider('p')
  await waitFor('its start', () => provider.status().state === 'ready')
  process.kill(provider.status().pid ?? 0, 'SIGKILL')
  await waitFor('the crash bundle', () => provider.status().crashBundle !== undefined)
  const bundles = await readdir(join(folder.path, 'crashes'))
  const kept = await Promise.all(bundles.map((name) => readFile(join(folder.path, 'crashes', name), 'utf8')))
  for (const text of [lines.join('\n'), ...kept]) {
    expect(text.match(/noted: \[secret\]/g)).not.toBeNull()
    // What another provider was given is none of its matter.
    expect(text).toContain(other)
    expect(own.filter((value) => text.includes(value))).toEqual([])
  }
})

test('while it cannot be read, no plugin starts; then all of them do', async () => {
  const folder = await tempFolder('given')
  disposals.push(() => folder.remove())
  await packFixture(join(folder.path, 'plugin'))
  let ill = true
  const room = startPlugins({
    ...(await configureFixture({ data: folder.path, folder: join(folder.path, 'plugin'), providers: { p: { knobs: {} } } })),
    owner: 'me',
    fence: { epoch: () => 4, mayAct: () => true },
    log,
    random: () => 0.01,
    given: async function* () {
      if (ill) throw new Error('the disk is away')
      yield {}
    },
  })
  disposals.push(() => room.stop())
  const { status } = room.provider('p')
  await waitFor('the reason', () => status().reason === 'what its workers were given cannot be read: the disk is away')
  expect(status().state).toBe('degraded')
  ill = false
  await waitFor('its start', () => status().state === 'ready')
})
