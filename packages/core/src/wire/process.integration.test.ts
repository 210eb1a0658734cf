/** The wire through real processes: a plugin's whole life, its end with its host, and what its host sees of a sudden death. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { connectPlugin, type PluginConnection } from './client.ts'
import { echoManifest } from './echo.test.child.ts'
import { encodeMessage } from './frames.ts'
import { collect, configuration, execId, failure, id, options, query, spec } from './link.test.helper.ts'

const echo = fileURLToPath(new URL('echo.test.child.ts', import.meta.url))
const target = { id }

interface Started {
  child: ChildProcess
  host: PluginConnection
  exit: Promise<{ code: number | null; signal: string | null }>
  /** What it wrote to stderr. */
  words(): string
}

const running = new Set<ChildProcess>()

function start(): Started {
  const child = spawn(process.execPath, [echo], { stdio: ['ignore', 'ignore', 'pipe', 'pipe'] })
  running.add(child)
  let words = ''
  child.stderr?.on('data', (text: Buffer) => {
    words += text.toString()
  })
  const exit = once(child, 'close').then(([code, signal]) => {
    running.delete(child)
    return { code: code as number | null, signal: signal as string | null }
  })
  return { child, host: connectPlugin(child.stdio[3] as Duplex), exit, words: () => words }
}

async function configured(): Promise<Started> {
  const started = start()
  await started.host.configure(configuration, { deadlineMs: 20_000 })
  return started
}

afterEach(async () => {
  for (const child of running) {
    child.kill('SIGKILL')
    await once(child, 'close')
  }
})

describe('a plugin process', () => {
  it('describes itself, works, retires, and exits with 0', async () => {
    const { host, exit, words } = await configured()
    expect(await host.describe({ deadlineMs: 20_000 })).toEqual(echoManifest)
    const secret = vi.fn(async () => ({ value: 'canary-in-process', version: '4' }))
    expect(await host.worker.probe(options({ secret }))).toMatchObject({ state: 'ready', facts: { version: '4', bytes: '17' } })
    await host.worker.launch(spec, options())
    expect(await collect(host.worker.watch(query, options()))).toHaveLength(1)
    expect(await collect(host.worker.logs(target, { follow: true }, options()))).toHaveLength(1000)
    await host.retire({ deadlineMs: 20_000 })
    expect(await exit).toEqual({ code: 0, signal: null })
    expect(await host.closed).toMatchObject({ kind: 'ended' })
    expect(words()).toContain('"message":"probed"')
    expect(words()).not.toContain('canary-in-process')
    // It is no fault.
    expect(words()).not.toContain('connection ended')
  })

  it('moves large streams whole, both ways, and side by side', async () => {
    const { host } = await configured()
    const bytes = 8_000_000
    const copies = [1, 2, 3].map(async () => {
      let got = 0
      for await (const part of host.worker.copyOut(target, String(bytes), options({ deadlineMs: 60_000 }))) got += part.length
      return got
    })
    async function* input(): AsyncGenerator<Uint8Array> {
      for (let part = 0; part < 40; part++) yield Buffer.alloc(100_000, part)
    }
    const session = await host.worker.exec(
      target,
      { id: execId, command: ['cat'], stdin: true, input: input(), from: { stdout: 0, stderr: 0 } },
      options({ deadlineMs: 60_000 }),
    )
    const echoed = Buffer.concat((await collect(session.output)).map((one) => one.data))
    expect(echoed).toHaveLength(4_000_000)
    for (let part = 0; part < 40; part++) expect(echoed[part * 100_000 + 99_999]).toBe(part)
    expect(await session.exit).toEqual({ code: 0, reason: 'exited' })
    expect(await Promise.all(copies)).toEqual([bytes, bytes, bytes])
    expect(host.stats()).toMatchObject({ asked: 0, senders: 0, receivers: 0, receivedBytes: 0 })
  })

  it('goes with its host, open calls that never end and all', async () => {
    const { host, exit } = await configured()
    const hangs = failure(host.worker.launch({ ...spec, env: { HANG: '1' } }, options({ deadlineMs: 60_000 })))
    const hold = failure(collect(host.worker.copyOut(target, '100000000000', options({ deadlineMs: 60_000 }))))
    await host.worker.launch(spec, options())
    host.close('the host dies')
    expect(await exit).toEqual({ code: 0, signal: null })
    for (const one of [hangs, hold]) expect(await one).toMatchObject({ code: 'transient', effect: 'possible' })
  })

  it('killed in the middle of a call is seen at once, as a fault of the plugin with a possible effect', async () => {
    const { child, host, exit } = await configured()
    const hangs = failure(host.worker.launch({ ...spec, env: { HANG: '1' } }, options()))
    await host.worker.launch(spec, options())
    child.kill('SIGKILL')
    expect(await host.closed).toMatchObject({ kind: 'ended' })
    expect(await hangs).toMatchObject({ code: 'internal', effect: 'possible' })
    expect(await exit).toEqual({ code: null, signal: 'SIGKILL' })
    expect(await failure(host.worker.probe(options()))).toMatchObject({ code: 'internal', effect: 'none' })
  })

  it('ends with 70 on a host that breaks the protocol, and says why', async () => {
    const { child, exit, words } = await configured()
    ;(child.stdio[3] as Duplex).write(encodeMessage('[]'))
    expect(await exit).toEqual({ code: 70, signal: null })
    expect(words()).toContain('"violation":"bad-message"')
  })

  it('ends with 70 when its author lets an error escape, and says which, without secrets', async () => {
    const { host, exit, words } = await configured()
    await host.worker.probe(options({ secret: async () => ({ value: 'canary-escapes', version: '1' }) }))
    const failed = failure(host.worker.launch({ ...spec, env: { CRASH: '1' } }, options()))
    expect(await failed).toMatchObject({ code: 'internal', effect: 'possible' })
    expect(await exit).toEqual({ code: 70, signal: null })
    expect(words()).toMatch(
      /^\{.*"plugin":"@muster\/echo".*uncaught exception|^\{.*uncaught exception.*"plugin":"@muster\/echo"/m,
    )
    expect(words()).toContain('[secret] escapes')
    expect(words()).not.toContain('canary-escapes')
  })

  it('lives on when Ctrl-C reaches the whole process group: its host decides', async () => {
    const { child, host } = await configured()
    child.kill('SIGINT')
    expect(await host.worker.inspect([target], options())).toEqual([])
  })

  it('says what it is when someone starts it by hand', async () => {
    const child = spawn(process.execPath, [echo], { stdio: ['ignore', 'ignore', 'pipe'] })
    let words = ''
    child.stderr.on('data', (text: Buffer) => {
      words += text.toString()
    })
    expect(await once(child, 'close')).toEqual([64, null])
    expect(words).toBe('@muster/echo is a Muster plugin: the muster daemon starts it\n')
  })
})
