/** The agent of this folder, in the workers of a real daemon, driven by `muster run` as by anybody. */
import { chmod, copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type MusterDaemon, startMuster } from '@muster/test/systems/muster'
import { freePort } from '@muster/test/systems/ports'
import { type RunningProcess, startProcess } from '@muster/test/systems/process'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'

const here = import.meta.dirname
const timeout = 180_000
let daemon: MusterDaemon
let shared: TempFolder

beforeAll(async () => {
  shared = await tempFolder('agent')
  // Each worker is a user of its own: what they share is open to all.
  await chmod(shared.path, 0o777)
  const agent = join(shared.path, 'agent.sh')
  await copyFile(join(here, 'agent.sh'), agent)
  await chmod(agent, 0o755)
  const spy = 'cp "$MUSTER_AGENT_TICKET" "$0/ticket-of-$MUSTER_WORKER" && exec /bin/sh "$1"'
  daemon = await startMuster({
    port: await freePort(),
    providers: { local: { plugin: 'baremetal', config: { transport: 'local' } } },
    pools: {
      agents: {
        placement: ['local'],
        worker: { work: 'agent', settings: { agent: ['/bin/sh', agent] }, grace: '2s' },
        scale: { max: 4 },
      },
      // Whoever can read the file of a ticket has a copy of it.
      spied: {
        placement: ['local'],
        worker: { work: 'agent', settings: { agent: ['/bin/sh', '-c', spy, shared.path, agent] }, grace: '2s' },
        scale: { max: 1 },
      },
    },
  })
}, timeout)
afterAll(async () => {
  await daemon[Symbol.asyncDispose]()
  await shared.remove()
}, timeout)

/** `muster` as a user calls it, from its sources. */
function muster(...args: string[]): Promise<RunningProcess> {
  return startProcess([process.execPath, join(here, '../../apps/host/bin/muster.mjs'), ...args], {
    cwd: daemon.folder,
    env: { ...process.env, MUSTER_SOURCE: '1', NO_COLOR: '1' },
  })
}

const run = (script: string, ...options: string[]): Promise<RunningProcess> =>
  muster('run', '--pool', 'agents', '--quiet', ...options, '--', '/bin/sh', '-c', script)

interface Told {
  outcome: string
  reason: string
  exit?: { code?: number }
}

/** The newest run. */
async function newest(): Promise<Told> {
  const { items } = await daemon.ask<{ items: Told[] }>('/v1/runs?ended=true&limit=1')
  const [found] = items
  if (found === undefined) throw new Error('there is no run')
  return found
}

const begun = (running: RunningProcess): Promise<unknown> =>
  waitFor('the command to begin', () => running.stdout().includes('begun'), { timeoutMs: timeout })

test('what goes in, comes out and is said passes through the agent, and so does the exit code', { timeout }, async () => {
  await using temp = await tempFolder('workspace')
  await writeFile(join(temp.path, 'in.txt'), 'from here\n')
  const script = `cat in.txt; echo "$WORD" "$(basename "$PWD")"; echo oops >&2
    cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c 'm[ts][ks]_w' || true
    head -c 300000 /dev/zero | tr '\\0' x; mkdir dist; echo made >dist/x; exit 3`
  const options = ['--upload', temp.path, '--output', 'dist=dist', '--output-dir', temp.path, '-e', 'WORD=it\'s a "word"']
  const running = await run(script, ...options)
  expect((await running.exited).code).toBe(3)
  // Neither a ticket nor a session is an argument of any process.
  expect(running.stdout().slice(0, 60)).toBe(`from here\nit's a "word" workspace\n0\n${'x'.repeat(60)}`.slice(0, 60))
  expect(running.stdout().match(/x+$/)?.[0]).toHaveLength(300_000)
  expect(running.stderr()).toContain('oops\n')
  expect(await readFile(join(temp.path, 'dist/x'), 'utf8')).toBe('made\n')
  expect(await newest()).toMatchObject({ outcome: 'failed', exit: { code: 3 } })
})

test('a cancel reaches the command, and what it says to that is kept', { timeout }, async () => {
  const running = await run("trap 'echo bye; exit 9' TERM; echo begun; while :; do sleep 0.1; done")
  await begun(running)
  running.kill('SIGINT')
  expect((await running.exited).code).toBe(130)
  expect(running.stdout()).toBe('begun\nbye\n')
  expect(await newest()).toMatchObject({ outcome: 'cancelled', exit: { code: 9 } })
})

test('a time-out ends a command that does not listen', { timeout }, async () => {
  const running = await run("trap '' TERM; echo begun; while :; do sleep 0.1; done", '--timeout', '1s')
  expect((await running.exited).code).toBe(124)
  expect(await newest()).toMatchObject({ outcome: 'timeout', exit: { code: 137 } })
})

test('an agent that is killed leaves a run that never blames the command', { timeout }, async () => {
  // The shell that started the command is a child of the agent.
  const running = await run('echo begun; read -r _ _ _ agent _ <"/proc/$PPID/stat"; kill -KILL "$agent"; sleep 600')
  expect((await running.exited).code).toBe(125)
  const told = await newest()
  expect(told).toMatchObject({ outcome: 'infrastructure', reason: expect.stringMatching(/^its agent ended before/) })
})

test('a daemon that is killed in the middle finds the agent at work, and every byte once', { timeout }, async () => {
  const gate = join(shared.path, 'gate')
  const running = await run(`echo begun; until [ -e '${gate}' ]; do sleep 0.1; done; echo on; exit 4`)
  await begun(running)
  await daemon.kill()
  await mkdir(gate)
  await daemon.start()
  expect((await running.exited).code).toBe(4)
  expect(running.stdout()).toBe('begun\non\n')
})

test('a ticket that somebody else has read is worth nothing, and is left nowhere', { timeout }, async () => {
  const gate = join(shared.path, 'spied')
  const script = `echo begun; until [ -e '${gate}' ]; do sleep 0.1; done`
  const running = await muster('run', '--pool', 'spied', '--quiet', '--', '/bin/sh', '-c', script)
  await begun(running)
  const [name = ''] = (await readdir(shared.path)).filter((one) => one.startsWith('ticket-of-'))
  const ticket = await readFile(join(shared.path, name), 'utf8')
  const worker = name.slice('ticket-of-'.length)
  expect(ticket).toMatch(new RegExp(`^mtk_${worker}_`))
  const { url } = JSON.parse(await readFile(join(daemon.data, 'endpoint.json'), 'utf8')) as { url: string }
  const replay = async (): Promise<unknown> => {
    const answer = await fetch(`${url}/v1/self/ready`, { method: 'POST', headers: { authorization: `Bearer ${ticket}` } })
    return ((await answer.json()) as { code: unknown }).code
  }
  expect(await replay()).toBe('ticket-used')
  const why = JSON.stringify(await daemon.ask(`/v1/why/worker/${worker}`))
  expect(why).toContain('ticket-replayed')
  await mkdir(gate)
  expect((await running.exited).code).toBe(0)
  const left = async (): Promise<boolean> => (await daemon.workers()).some(({ id }) => id === worker)
  await waitFor('the worker to be gone', left, { until: (there) => !there, timeoutMs: timeout })
  expect(await replay()).toBe('unauthorized')
  const secret = ticket.slice(-43)
  const bytes = Buffer.from(secret, 'base64url')
  const forms = [secret, bytes.toString('latin1'), bytes.toString('hex'), bytes.toString('base64')]
  const hits = (await kept()).filter(({ text }) => forms.some((form) => text.includes(form)))
  expect(hits.map(({ path }) => path)).toEqual([])
  expect(forms.filter((form) => `${why}${daemon.output()}`.includes(form))).toEqual([])
})

test('no ticket and no session is left where anybody could find it', async () => {
  const proof = /m(tk|ss)_w[0-9a-z]{26}_/
  expect((await kept()).filter(({ text }) => proof.test(text)).map(({ path }) => path)).toEqual([])
  expect(daemon.output()).not.toMatch(proof)
})

/** Everything that the daemon keeps, byte for byte. */
async function kept(): Promise<{ path: string; text: string }[]> {
  const entries = await readdir(daemon.data, { recursive: true, withFileTypes: true })
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  // One that has gone meanwhile holds nothing.
  return Promise.all(paths.map(async (path) => ({ path, text: await readFile(path, 'latin1').catch(() => '') })))
}
