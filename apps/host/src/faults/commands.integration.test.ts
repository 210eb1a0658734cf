/** A thousand commands of users at once, and half of them give up: those are cancelled, nobody else notices, and nothing is left. */
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, expect, test } from 'vitest'
import { type Commands, heldBy, makeGate, runsIn, startCommands } from './commands.test.helper.ts'
import { makeSite, patienceMs } from './daemon.test.helper.ts'
import { localVendor } from './vendors.test.helper.ts'

const disposals: (() => unknown)[] = []
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
})

/** A machine has no room for a thousand Node processes at once; `pnpm prove` starts as many as it has room for. */
const PROCESSES = 20
const EACH = 50
const WORKERS = 8

test('a thousand `muster run` at once, Ctrl-C on half of them', { timeout: 600_000 }, async () => {
  const vendor = await localVendor()
  disposals.push(() => vendor.dispose?.())
  const pools = `cold: { placement: [p], worker: { grace: 500ms }, scale: { max: ${WORKERS} } }`
  const site = await makeSite({ ...vendor.files(), pools })
  disposals.push(() => site.dispose())
  const gate = await makeGate()
  disposals.push(() => gate.dispose())
  const { client } = site
  await site.start()
  await site.ready()
  const until = async (what: string, look: () => Promise<boolean>): Promise<unknown> =>
    waitFor(what, look, { timeoutMs: patienceMs, everyMs: 250 })
  const workersLeft = async (): Promise<number> => (await client.workers.list({ limit: 1 })).items.length
  // What only the first run loads and opens stays.
  await client.runs.wait((await client.runs.create({ pool: 'cold', command: ['true'] })).id)
  await until('its worker to be gone', async () => (await workersLeft()) === 0)
  const before = await heldBy(site)

  const all = Array.from({ length: PROCESSES }, () => startCommands({ cwd: site.dir }))
  disposals.push(async () => Promise.all(all.map((one) => one.close())))
  const ends = new Map(all.map((one) => [one, [] as ReturnType<Commands['run']>[]]))
  const begin = (one: Commands, times: number): void => {
    const own = ends.get(one) ?? []
    for (let n = 0; n < times; n++) {
      const key = `${all.indexOf(one)}-${own.length}`
      const args = [
        'run',
        '-q',
        '--no-stdin',
        '-c',
        site.config,
        '--pool',
        'cold',
        '--label',
        `key=${key}`,
        '--',
        ...gate.command(key),
      ]
      own.push(one.run(key, args))
    }
  }
  const endsOf = async (some: Commands[]): Promise<Awaited<ReturnType<Commands['run']>>[]> =>
    Promise.all(some.flatMap((one) => ends.get(one) ?? []))

  // Half of the workers serve whoever stays, the other half who gives up; all others wait.
  for (const one of all.slice(0, 2)) begin(one, WORKERS / 2)
  await until('the workers to be taken', async () => (await runsIn(client, 'running')).length === WORKERS)
  for (const one of all) begin(one, EACH - (ends.get(one)?.length ?? 0))
  await until('each to follow its run', async () => (await heldBy(site)).streams === before.streams + PROCESSES * EACH)
  expect(await client.pools.get('cold')).toMatchObject({ leases: WORKERS, queued: PROCESSES * EACH - WORKERS })

  const leaving = all.filter((_, n) => n % 2 === 0)
  for (const one of leaving) one.kill('SIGINT')
  const heard = ({ said }: Commands): number => said().split('SIGINT: cancelling').length - 1
  await until('each command to hear it', async () => leaving.every((one) => heard(one) === EACH))
  // Those do not wait for how their runs end.
  for (const one of leaving.slice(0, 2)) one.kill('SIGINT')
  const left = await endsOf(leaving)
  expect(left.map(({ code }) => code)).toEqual(left.map(() => 130))

  await gate.open()
  for (const { key, ...end } of await endsOf(all.filter((one) => !leaving.includes(one))))
    expect([key, end]).toEqual([key, { code: 0, stdout: gate.whole(key), stderr: '' }])
  for (const one of all) expect(await one.close()).toEqual({ code: 0, signal: null })

  await until('every worker to be gone', async () => (await workersLeft()) === 0)
  const ended = new Map((await runsIn(client, 'ended')).map(({ labels, outcome }) => [labels['key'], outcome]))
  for (const [n, one] of all.entries())
    for (let nth = 0; nth < EACH; nth++) expect(ended.get(`${n}-${nth}`)).toBe(leaving.includes(one) ? 'cancelled' : 'passed')
  const { owner } = await client.version()
  expect(await vendor.existing({ data: site.data, owner })).toEqual([])
  expect((await client.leases.list({ limit: 1 })).items).toEqual([])
  expect((await client.runs.list({ limit: 1 })).items).toEqual([])
  await waitFor('the daemon to hold what it held before', async () => heldBy(site), {
    until: (now) => now.files <= before.files && now.processes === before.processes && now.streams === before.streams,
    timeoutMs: patienceMs,
  })
})
