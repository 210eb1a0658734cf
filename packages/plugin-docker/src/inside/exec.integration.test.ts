import { findDocker } from '@muster/test/systems/docker'
import { askEngine, engineJson } from '@muster/test/systems/engine'
import { removeImage } from '@muster/test/systems/images'
import { suiteWith } from '@muster/test/systems/presence'
import { tarStream } from '@muster/test/systems/tar'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { callOf, createHarness, execId, type Harness } from '../testing/harness.test.helper.ts'

suiteWith(await findDocker(), 'commands in a worker on a real engine', (docker) => {
  let harness: Harness
  let id: string
  beforeAll(async () => {
    harness = await createHarness(docker.socket)
    const spec = harness.hold({ env: { FROM: 'spec' }, workdir: '/work' })
    await harness.provider.launch(spec, callOf())
    id = spec.id
  })
  afterAll(() => harness.clean())

  const processes = async (worker: string): Promise<string[]> => {
    const { Processes } = await engineJson<{ Processes: string[][] }>(docker.socket, { path: `/containers/muster-${worker}/top` })
    return Processes.map((fields) => fields.at(-1) ?? '')
  }
  /** Only what holds the worker: docker-init, the shell, its sleep. */
  const nothingElse = (worker: string): Promise<string[]> =>
    waitFor('the end of all commands', () => processes(worker), { until: (seen) => seen.length <= 3 })

  test('exit code, both streams, environment and folder', async () => {
    const { exit, stdout, stderr } = await harness.exec(id, ['sh', '-c', 'echo $FROM $OWN; pwd; echo no >&2; exit 5'], {
      env: { OWN: 'call' },
    })
    expect({ code: exit.code, stdout, stderr }).toEqual({ code: 5, stdout: 'spec call\n/work\n', stderr: 'no\n' })
  })

  test.each([
    ['exit 0', { code: 0 }],
    ['exit 137', { code: 137 }],
    ['exit 143', { code: 143 }],
    ['kill -9 $$', { signal: 'SIGKILL' }],
    ['kill -15 $$', { signal: 'SIGTERM' }],
  ])('%s ends as what it was', async (script, expected) => {
    expect((await harness.exec(id, ['sh', '-c', script])).exit).toMatchObject(expected)
  })

  test('a command killed for memory says so, a sibling that exits 137 does not', async () => {
    const spec = harness.hold({ resources: { memoryBytes: 32 * 1024 * 1024 } })
    await harness.provider.launch(spec, callOf())
    // It may take the connection into the worker too: who attaches again by the same id is told the end, and nothing begins anew.
    const again = { id: execId() }
    const killed = await waitFor('its end', async () => (await harness.exec(spec.id, ['tail', '/dev/zero'], again)).exit)
    // The killer may take the command's supervisor as well: then it is named, and the rest is not guessed.
    if (killed.oomKilled === undefined)
      expect(killed).toEqual({ reason: expect.stringMatching(/^unknown: .* memory killer struck/) })
    else expect(killed).toMatchObject({ oomKilled: true, signal: 'SIGKILL' })
    const { exit } = await harness.exec(spec.id, ['sh', '-c', 'exit 137'])
    expect(exit).toMatchObject({ code: 137 })
    expect(exit.oomKilled).toBeUndefined()
  })

  test('standard input goes in, and its end', async () => {
    const line = Buffer.alloc(100_000, 'x')
    const input = async function* (): AsyncGenerator<Uint8Array> {
      for (let index = 0; index < 20; index++) yield line
    }
    const { exit, stdout } = await harness.exec(id, ['sh', '-c', 'wc -c'], { stdin: true, input: input() })
    expect({ code: exit.code, stdout: stdout.trim() }).toEqual({ code: 0, stdout: '2000000' })
  })

  test('attaching again from where the bytes were stored, whoever died meanwhile', async () => {
    const exec = execId()
    const command = ['sh', '-c', 'i=0; while [ $i -lt 200 ]; do echo line $i; sleep 0.01; i=$((i+1)); done; exit 9']
    let text = ''
    let exit
    for (let attaches = 0; exit === undefined && attaches < 100; attaches++) {
      // Each attach is a plugin that knows nothing of those before.
      const call = callOf()
      const spec = { id: exec, command, stdin: false, from: { stdout: text.length, stderr: 0 } }
      const session = await harness.another().exec({ id }, spec, call)
      let done = true
      for await (const { offset, data } of session.output) {
        expect(offset).toBe(text.length)
        text += Buffer.from(data).toString()
        if (attaches >= 5) continue
        done = false
        break
      }
      if (done) exit = await session.exit
    }
    expect(exit).toMatchObject({ code: 9 })
    expect(text).toBe(Array.from({ length: 200 }, (_, index) => `line ${index}\n`).join(''))
    expect(await harness.provider.execState({ id }, exec, callOf())).toMatchObject({ state: 'exited', exit: { code: 9 } })
  })

  test('20 MB of output come whole', async () => {
    const session = await harness.provider.exec(
      { id },
      { id: execId(), command: ['sh', '-c', 'yes abcdefghi | head -c 20000000'], stdin: false, from: { stdout: 0, stderr: 0 } },
      callOf({ timeoutMs: 120_000 }),
    )
    let bytes = 0
    for await (const { data } of session.output) bytes += data.length
    expect(bytes).toBe(20_000_000)
    expect((await session.exit).code).toBe(0)
  })

  test('state and kill, with the whole process group', async () => {
    const exec = execId()
    expect(await harness.provider.execState({ id }, exec, callOf())).toEqual({ state: 'unknown' })
    const running = harness.exec(id, ['sh', '-c', 'sleep 1000 & sleep 1001 & wait'], { id: exec })
    await waitFor('the children', () => processes(id), {
      until: (seen) => seen.filter((line) => /sleep 100[01]/.test(line)).length >= 2,
    })
    expect(await harness.provider.execState({ id }, exec, callOf())).toEqual({ state: 'running' })
    await harness.provider.execKill({ id }, { id: exec, signal: 'SIGTERM' }, callOf())
    expect((await running).exit).toMatchObject({ signal: 'SIGTERM' })
    await harness.provider.execKill({ id }, { id: exec, signal: 'SIGKILL' }, callOf())
    expect(await nothingElse(id)).toHaveLength(3)
  })

  test('an abort cuts the connection and not the command', async () => {
    const exec = execId()
    const abort = new AbortController()
    const command = ['sh', '-c', 'echo first; sleep 1; echo second']
    const session = await harness.provider.exec(
      { id },
      { id: exec, command, stdin: false, from: { stdout: 0, stderr: 0 } },
      callOf({ signal: abort.signal }),
    )
    const reading = (async () => {
      for await (const _ of session.output) abort.abort()
    })()
    await expect(reading).rejects.toMatchObject({ code: 'cancelled' })
    await expect(session.exit).rejects.toBeDefined()
    expect(await harness.exec(id, command, { id: exec })).toMatchObject({ exit: { code: 0 }, stdout: 'first\nsecond\n' })
    expect(await nothingElse(id)).toHaveLength(3)
  })

  test('as a user that the image does not have: refused, since no time makes it one', async () => {
    for (const user of ['nosuch', '1000:nosuch'])
      await expect(harness.exec(id, ['id'], { user })).rejects.toMatchObject({
        code: 'invalid-spec',
        path: 'user',
        message: expect.stringContaining(`the worker has no user ${user}: unable to find `),
      })
  })

  test("as the worker's user, as another, and under a read-only root", async () => {
    const security = { user: '1000:1000', readOnlyRoot: true, capabilitiesDrop: ['ALL'], noNewPrivileges: true }
    const spec = harness.hold({ security })
    await harness.provider.launch(spec, callOf())
    expect((await harness.exec(spec.id, ['id', '-u'])).stdout).toBe('1000\n')
    const other = execId()
    expect(await harness.exec(id, ['id', '-u'], { id: other, user: '1000' })).toMatchObject({
      exit: { code: 0 },
      stdout: '1000\n',
    })
    expect(await harness.provider.execState({ id }, other, callOf())).toMatchObject({ state: 'exited' })
    expect(await harness.exec(spec.id, ['id', '-u'], { user: '0' })).toMatchObject({ stdout: '0\n' })
  })

  test('in an image without a shell it is refused by name', async ({ onTestFinished }) => {
    const image = 'muster-test/shell-less:1'
    await withoutShell(docker.socket, image)
    const spec = harness.spec({ image, work: { mode: 'command', command: ['/sleep', '1000'] } })
    onTestFinished(async () => {
      await harness.provider.terminate({ id: spec.id }, { graceMs: 0, force: true, reason: 'test' }, callOf())
      await removeImage(docker.socket, image)
    })
    await harness.provider.launch(spec, callOf())
    await expect(harness.exec(spec.id, ['/sleep', '0'])).rejects.toMatchObject({
      code: 'unsupported',
      path: 'image',
      effect: 'none',
    })
    await expect(harness.provider.launch(harness.hold({ image }), callOf())).rejects.toMatchObject({
      code: 'unsupported',
      path: 'work.mode',
      effect: 'none',
    })
  })

  test('a worker that is not there, not running, or paused', async () => {
    const ended = harness.command('true')
    await harness.provider.launch(ended, callOf())
    await harness.exit(ended.id)
    await expect(harness.exec(ended.id, ['true'])).rejects.toMatchObject({ code: 'conflict', effect: 'none' })
    await expect(harness.exec(harness.hold().id, ['true'])).rejects.toMatchObject({ code: 'not-found', effect: 'none' })
  })

  test('terminate hands its grace to whatever runs inside', async () => {
    const spec = harness.hold()
    await harness.provider.launch(spec, callOf())
    const path = `/containers/muster-${spec.id}`
    const say = (word: string): string => `echo ${word} >/proc/1/fd/1`
    const script = `trap "sleep 0.3; ${say('ended')}; exit 0" TERM; ${say('ready')}; while :; do sleep 0.05; done`
    const { Id } = await engineJson<{ Id: string }>(docker.socket, {
      method: 'POST',
      path: `${path}/exec`,
      body: { Cmd: ['sh', '-c', script] },
    })
    await engineJson(docker.socket, { method: 'POST', path: `/exec/${Id}/start`, body: { Detach: true } })
    const said = async (): Promise<string> =>
      (await askEngine(docker.socket, { path: `${path}/logs`, query: { stdout: '1' } })).body.toString()
    await waitFor('the trap to be set', said, { until: (text) => text.includes('ready') })
    const following = askEngine(docker.socket, { path: `${path}/logs`, query: { stdout: '1', follow: '1' } })
    // It heeds the signal: its grace is longer than this test may take.
    await harness.gone(spec.id, 600_000)
    expect((await following).body.toString()).toContain('ended')
  })

  test('whoever follows a command hears what it says in the grace of its worker, and how it ends', async () => {
    const spec = harness.hold()
    await harness.provider.launch(spec, callOf())
    const script = `trap 'echo told; sleep 0.3; echo clean; exit 9' TERM; echo ready >/proc/1/fd/1; while :; do sleep 0.05; done`
    const heard = harness.exec(spec.id, ['sh', '-c', script])
    const path = `/containers/muster-${spec.id}/logs`
    const said = async (): Promise<string> => (await askEngine(docker.socket, { path, query: { stdout: '1' } })).body.toString()
    await waitFor('the trap to be set', said, { until: (text) => text.includes('ready') })
    await harness.gone(spec.id, 600_000)
    expect(await heard).toMatchObject({ stdout: 'told\nclean\n', exit: { code: 9 } })
  })
})

/** An image with one static program and nothing else; a busybox does what its name says. */
async function withoutShell(socket: string, image: string): Promise<void> {
  const [repo = '', tag = ''] = image.split(':')
  await askEngine(socket, {
    method: 'POST',
    path: '/images/create',
    query: { fromSrc: '-', repo, tag },
    headers: { 'content-type': 'application/x-tar' },
    body: tarStream([{ kind: 'file', path: 'sleep', mode: 0o755, content: { from: '/bin/busybox' } }]),
  })
}
