/** Secrets stay where they belong: swept for in everything that the daemon keeps, answers, logs and starts. */
import { randomUUID } from 'node:crypto'
import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { once } from 'node:events'
import { join } from 'node:path'
import { packFolder } from '@muster/client'
import { tempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, expect, test } from 'vitest'
import { startMuster } from '../cli/muster.test.helper.ts'
import { makeSite, patienceMs, type Site } from './daemon.test.helper.ts'
import { type Canary, formsOf, type Hit, sweeper } from './sweep.test.helper.ts'
import { localVendor } from './vendors.test.helper.ts'

const timeout = 300_000
const disposals: (() => unknown)[] = []
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
})

/** With characters that each of the forms writes otherwise. */
const canary = (name: string): Canary => ({ name, value: `${name}+/"\\é<&>%?${randomUUID()}${randomUUID()}` })

const [poolEnv, runEnv, file, input, stdin, wrong, body] = ['pool', 'env', 'file', 'input', 'stdin', 'wrong', 'body'].map(
  canary,
) as [Canary, Canary, Canary, Canary, Canary, Canary, Canary]

/** The daemon itself at its most talkative, with a run whose every part holds a canary, and a plugin that fell over meanwhile. */
async function lived(): Promise<{ site: Site; url: string; tokens: Canary[]; log: () => string; sweep: () => Promise<Hit[]> }> {
  const vendor = await localVendor()
  disposals.push(() => vendor.dispose?.())
  const files = vendor.files()
  const pools = files.pools.replace(
    'hold: { placement: [p], worker: {',
    `hold: { placement: [p], worker: { env: { POOL: ${JSON.stringify(poolEnv.value)} },`,
  )
  const site = await makeSite({ ...files, pools })
  disposals.push(() => site.dispose())
  const daemon = startMuster(['up', '-c', site.config, '--log-level', 'debug', '--log-format', 'json'], { cwd: site.dir })
  disposals.push(async () => {
    daemon.kill('SIGTERM')
    await daemon.exited
  })
  await waitFor('the daemon', () => daemon.stderr().includes('"msg":"ready"'), { timeoutMs: patienceMs })
  await site.ready()
  // A daemon that ends leaves its workers where they are.
  disposals.push(async () =>
    waitFor('no worker to be left', async () => (await site.client.workers.list()).items.length === 0, {
      timeoutMs: patienceMs,
    }),
  )
  const { url } = JSON.parse(readFileSync(join(site.data, 'endpoint.json'), 'utf8')) as { url: string }
  const made = await site.client.tokens.create({ name: 'other', role: 'operator' })
  const tokens = [
    { name: 'admin token', value: readFileSync(join(site.data, 'admin.token'), 'utf8').trim() },
    { name: 'made token', value: made.token },
  ]

  await using workspace = await tempFolder('secrets')
  writeFileSync(join(workspace.path, 'inner'), input.value)
  const script =
    'test -n "$POOL" && test -n "$RUN" && test -s workspace/inner && test -s file && cat >/dev/null; touch begun; while [ ! -e go ]; do sleep 0.1; done; exit 3'
  const run = await site.client.runs.create({
    pool: 'hold',
    command: ['/bin/sh', '-c', script],
    env: { RUN: runEnv.value },
    files: [{ path: 'file', base64: Buffer.from(file.value).toString('base64') }],
    inputs: [{ name: 'workspace', path: 'workspace' }],
    stdin: true,
  })
  await site.client.runs.putInput(run.id, { name: 'workspace', tar: () => packFolder(workspace.path) })
  await site.client.runs.stdin(
    run.id,
    (async function* () {
      yield Buffer.from(stdin.value)
    })(),
  )
  const { worker = '' } = await site.client.runs.wait(run.id, { until: 'running' })
  const asked = async (path: string, sent: object = {}): Promise<string> => {
    const answer = await fetch(`${url}${path}`, {
      headers: { authorization: `Bearer ${made.token}`, 'content-type': 'application/json' },
      ...sent,
    })
    return answer.text()
  }
  const errors = [
    await asked('/v1/runs', {
      method: 'POST',
      body: JSON.stringify({ pool: 'hold', command: ['true'], env: { 'NO-NAME': wrong.value } }),
    }),
    await asked('/v1/runs', { method: 'POST', body: JSON.stringify({ pool: 'hold', command: ['true'], env: wrong.value }) }),
    await asked('/v1/runs', {
      method: 'POST',
      body: JSON.stringify({ pool: 'none', command: ['true'], env: { A: wrong.value } }),
    }),
    await asked('/v1/runs', { method: 'POST', body: `{ "pool": "hold", ${body.value}` }),
    await asked('/v1/runs', { method: 'POST', body: body.value }),
  ]
  const { pid = 0 } = await site.client.providers.get('p')
  process.kill(pid, 'SIGKILL')
  await waitFor('the crash bundle', async () => (await site.client.providers.get('p')).crashBundle !== undefined, {
    timeoutMs: patienceMs,
  })
  await site.ready()

  const all = [poolEnv, runEnv, file, input, stdin, wrong, body, ...tokens]
  const { text, folder, processes } = sweeper(all)
  const sweep = async (): Promise<Hit[]> => {
    const hits = [
      ...(await folder(site.data, { 'admin.token': ['admin token'] })),
      // What a worker runs has what it was given.
      ...(await processes((environ) => environ.includes('MUSTER_WORKER='))),
      ...text('log', daemon.stderr()),
      ...errors.flatMap((answer, index) => text(`error ${index}`, answer)),
    ]
    const ids = [`runs/${run.id}`, `workers/${worker}`, `leases/${run.lease ?? ''}`]
    const lists = [
      'runs?ended=true',
      'workers?ended=true',
      'leases?ended=true',
      'pools',
      'providers',
      'conditions',
      'tokens',
      'version',
    ]
    const whys = [`why/run/${run.id}`, `why/worker/${worker}`, 'why/pool/hold']
    for (const path of [...lists, ...ids, ...whys, `runs/${run.id}/logs`]) hits.push(...text(path, await asked(`/v1/${path}`)))
    hits.push(...text('metrics', await asked('/metrics')))
    for (const { id } of (await site.client.providers.crashes()).items)
      hits.push(...text(`given out crash ${id}`, JSON.stringify(await site.client.providers.crash(id))))
    const stop = new AbortController()
    const last = (await site.client.why('run', run.id)).at(-1)?.seq ?? 0
    for await (const decision of site.client.events({ from: 0, signal: stop.signal })) {
      hits.push(...text('events', JSON.stringify(decision)))
      if (decision.seq >= last) stop.abort()
    }
    return hits
  }
  await waitFor(
    'the command',
    async () => {
      const { items } = await site.client.runs.list({})
      return items.some((one) => one.id === run.id && one.state === 'running')
    },
    { timeoutMs: patienceMs },
  )
  disposals.push(async () => {
    await site.client.runs.cancel(run.id, { force: true }).catch(() => undefined)
    await waitFor('the worker to be gone', async () => (await site.client.workers.list()).items.length === 0, {
      timeoutMs: patienceMs,
    })
  })
  return { site, url, tokens, log: () => daemon.stderr(), sweep }
}

test(
  'no secret is in the store, the journal, logs, answers, errors, crash bundles, or another process',
  { timeout },
  async () => {
    const { site, sweep } = await lived()
    // While it runs: sealed values are on the disk.
    expect(await sweep()).toEqual([])
    const run = (await site.client.runs.list({})).items[0]
    await site.client.workers.exec(run?.worker ?? '', { command: ['/bin/sh', '-c', 'touch go'] })
    expect(await site.client.runs.wait(run?.id ?? '')).toMatchObject({ exit: { code: 3 } })
    expect(await sweep()).toEqual([])
  },
)

test('a leak that is planted is found, in each form and at each place', { timeout }, async () => {
  const { site, sweep } = await lived()
  const found = async (): Promise<string[]> => [
    ...new Set((await sweep()).map((hit) => `${hit.canary} ${hit.form} in ${hit.where.replace(/\d+/, 'N')}`)),
  ]
  for (const [form, bytes] of formsOf(runEnv.value)) {
    mkdirSync(join(site.data, 'crashes'), { recursive: true })
    writeFileSync(join(site.data, 'crashes/planted'), Buffer.concat([Buffer.from('before '), bytes, Buffer.from(' after')]))
    expect(await found()).toContain(`env ${form} in crashes/planted`)
  }
  rmSync(join(site.data, 'crashes/planted'))
  expect(await found()).toEqual([])

  // What is given out of a bundle is looked through as well; this one reached no plugin, so that it is not taken out.
  const [bundle] = await readdir(join(site.data, 'crashes'))
  const facts = JSON.parse(readFileSync(join(site.data, 'crashes', bundle ?? ''), 'utf8')) as object
  const planted = '2026-06-30T00-00-00.000Z-p'
  writeFileSync(join(site.data, `crashes/${planted}.json`), JSON.stringify({ ...facts, output: [wrong.value] }))
  expect(await found()).toContain('wrong json in given out crash N-06-30T00-00-00.000Z-p')
  rmSync(join(site.data, `crashes/${planted}.json`))
  expect(await found()).toEqual([])

  // The store, the journal, an answer and the log: words that somebody chose himself.
  const words = file.value
  const run = await site.client.runs.create({ pool: 'hold', command: ['true'], labels: { note: words.slice(0, 255) } })
  await site.client.runs.cancel(run.id, { reason: words })
  const told = await found()
  expect(told.some((hit) => hit.startsWith('file json in') && hit.includes('runs?ended=true'))).toBe(true)
  expect(told.some((hit) => hit.startsWith('file ') && /in muster\.db|in store/.test(hit))).toBe(true)

  const child = spawn(process.execPath, ['-e', 'process.stdin.resume()', stdin.value], {
    stdio: ['pipe', 'ignore', 'ignore'],
    env: { LEAK: input.value },
  })
  await once(child, 'spawn')
  await waitFor('both to be seen', async () => {
    const hits = await found()
    return hits.includes('stdin raw in process N argv') && hits.includes('input raw in process N env')
  })
  child.stdin.end()
  await once(child, 'exit')
})
