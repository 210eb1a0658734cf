/** Docker workers beside the bare engine: one at a time, many at once, their logs, and what it costs to keep an eye on them. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { type Counter, startCounter } from './counter.ts'
import { residentMb } from './plugins.ts'
import { empty, figures, ours, type Pair, packages } from './real.ts'
import type { Figure } from './report.ts'
import { type Rig, startRig } from './rig.ts'
import { quantile } from './stats.ts'

export interface DockerBench {
  socket: string
  image: string
  /** Workers asked for in one moment. */
  atOnce: number
  rounds: number
  logBytes: number
  /** Workers that nobody asks for anything. */
  live: number
  restMs: number
}

export async function benchDocker(pairs: number, bench: DockerBench): Promise<Figure[]> {
  const rig = await startOn(bench.socket, bench)
  const measured: Figure[] = []
  try {
    measured.push(...(await oneByOne(rig, { pairs, bench })))
    measured.push(...(await allAtOnce(rig, bench)))
    measured.push(await logs(rig, bench))
  } finally {
    await rig.stop()
  }
  return [...measured, ...(await atRest(bench))]
}

function startOn(socket: string, { image, live }: DockerBench): Promise<Rig> {
  return startRig({
    plugin: join(packages, 'plugin-docker'),
    name: '@muster/plugin-docker',
    config: { socket },
    pool: `worker: { work: hold, image: "${image}", lifetime: 24h }, scale: { max: ${Math.max(live, 100)} }`,
  })
}

async function oneByOne(rig: Rig, { pairs, bench }: { pairs: number; bench: DockerBench }): Promise<Figure[]> {
  const [mine, bare, line] = [empty(), empty(), empty()]
  for (let n = 0; n < pairs; n++) {
    await ours(rig, mine)
    await bareEngine(bench, bare)
    await commandLine(bench, line)
  }
  return [
    ...figures('docker', { mine, bare }, ['P95 < 3 s, P50 < × 1.15', 'P95 < 5 s, P50 < × 1.15']),
    ...figures('docker, beside `docker run` and `docker rm --force`', { mine, bare: line }),
  ]
}

async function ask(socket: string, method: string, { path, body }: { path: string; body?: object }): Promise<IncomingMessage> {
  const asked = request({ socketPath: socket, method, path, headers: { 'content-type': 'application/json' } })
  asked.end(body === undefined ? undefined : JSON.stringify(body))
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  if ((answer.statusCode ?? 500) < 400) return answer
  throw new Error(`${method} ${path}: ${answer.statusCode} ${await textOf(answer)}`)
}

async function textOf(answer: IncomingMessage): Promise<string> {
  return Buffer.concat(await Array.fromAsync(answer as AsyncIterable<Buffer>)).toString()
}

/** The engine keeps the log as it does for a worker. */
async function bareStart(socket: string, { image, command }: { image: string; command: string[] }): Promise<string> {
  const body = { Image: image, Cmd: command, HostConfig: { LogConfig: { Type: 'local' } } }
  const { Id } = JSON.parse(await textOf(await ask(socket, 'POST', { path: '/containers/create', body }))) as { Id: string }
  await textOf(await ask(socket, 'POST', { path: `/containers/${Id}/start` }))
  return Id
}

async function bareEnd(socket: string, id: string): Promise<void> {
  await textOf(await ask(socket, 'DELETE', { path: `/containers/${id}?force=1&v=1` }))
}

async function bareEngine({ socket, image }: DockerBench, into: Pair): Promise<void> {
  const begin = performance.now()
  const id = await bareStart(socket, { image, command: ['sleep', '1000'] })
  into.create.push(performance.now() - begin)
  const end = performance.now()
  await bareEnd(socket, id)
  into.end.push(performance.now() - end)
}

const execute = promisify(execFile)

async function commandLine({ socket, image }: DockerBench, into: Pair): Promise<void> {
  const docker = async (...args: string[]): Promise<string> =>
    (await execute('docker', ['--host', `unix://${socket}`, ...args])).stdout
  const begin = performance.now()
  const id = (await docker('run', '--detach', image, 'sleep', '1000')).trim()
  into.create.push(performance.now() - begin)
  const end = performance.now()
  await docker('rm', '--force', '--volumes', id)
  into.end.push(performance.now() - end)
}

/** From the first request until all are there, and until all are gone. */
async function allAtOnce(rig: Rig, { socket, image, atOnce, rounds }: DockerBench): Promise<Figure[]> {
  const [mine, bare] = [empty(), empty()]
  const each = <T>(work: (index: number) => Promise<T>): Promise<T[]> =>
    Promise.all(Array.from({ length: atOnce }, (_, index) => work(index)))
  for (let n = 0; n < rounds; n++) {
    const leases = await timed(mine.create, () => each(() => lease(rig)))
    await timed(mine.end, () => release(rig, leases))
    const ids = await timed(bare.create, () => each(() => bareStart(socket, { image, command: ['sleep', '1000'] })))
    await timed(bare.end, () => each((index) => bareEnd(socket, ids[index] ?? '')))
  }
  return figures(`docker, ${atOnce} in one moment`, { mine, bare })
}

async function timed<T>(into: number[], work: () => Promise<T>): Promise<T> {
  const begin = performance.now()
  const done = await work()
  into.push(performance.now() - begin)
  return done
}

async function lease(rig: Rig): Promise<string> {
  const { id } = await rig.engine.leases.request({ pool: 'p', requirements: {}, ttlMs: 24 * 3_600_000, principal: 'bench' })
  await rig.engine.leases.wait(id, (view) => view.lease.state === 'active')
  return id
}

async function release(rig: Rig, leases: readonly string[]): Promise<void> {
  await Promise.all(leases.map((id) => rig.engine.leases.release(id, { reason: 'bench', force: true })))
  while (rig.engine.workers.live()[Symbol.iterator]().next().done !== true) await sleep(5)
}

async function logs(rig: Rig, { socket, image, logBytes, rounds }: DockerBench): Promise<Figure> {
  const command = ['sh', '-c', `yes ${'x'.repeat(99)} | head -c ${logBytes}`]
  const provider = rig.plugins.provider('p')
  const id = `w${'0'.repeat(26)}`
  const tags = { 'muster-owner': rig.owner, 'muster-provider': 'p', 'muster-pool': 'p', 'muster-worker': id, 'muster-epoch': '1' }
  await provider.launch({ id, tags, image, work: { mode: 'command', command } }, { idempotencyKey: id })
  const bare = await bareStart(socket, { image, command })
  try {
    while ((await provider.inspect([{ id }]))[0]?.exit === undefined) await sleep(50)
    await textOf(await ask(socket, 'POST', { path: `/containers/${bare}/wait` }))
    const [mine, raw] = [[] as number[], [] as number[]]
    for (let n = 0; n < rounds; n++) {
      await timed(mine, async () => whole(provider.logs({ id }, { follow: false }), logBytes))
      await timed(raw, async () => {
        const answer = await ask(socket, 'GET', { path: `/containers/${bare}/logs?stdout=1&stderr=1` })
        let bytes = 0
        for await (const chunk of answer as AsyncIterable<Buffer>) bytes += chunk.length
        if (bytes < logBytes) throw new Error(`the engine's log has ${bytes} bytes`)
      })
    }
    const rate = (ms: readonly number[]): number => logBytes / 1000 / quantile(ms, 0.5)
    return {
      name: 'docker: log, median',
      value: `${rate(mine).toFixed(0)} MB/s`,
      baseline: `the engine's answer, thrown away: ${rate(raw).toFixed(0)} MB/s`,
      ratio: `× ${(rate(mine) / rate(raw)).toFixed(2)}`,
      aim: '',
    }
  } finally {
    await provider.terminate({ id }, { graceMs: 0, force: true, reason: 'bench' }, { idempotencyKey: id })
    await bareEnd(socket, bare)
  }
}

async function whole(chunks: AsyncIterable<{ data: Uint8Array }>, wanted: number): Promise<void> {
  let bytes = 0
  for await (const { data } of chunks) bytes += data.length
  if (bytes !== wanted) throw new Error(`the log has ${bytes} bytes`)
}

/** What many workers cost while nothing happens. */
async function atRest(bench: DockerBench): Promise<Figure[]> {
  const { live, restMs } = bench
  const counter: Counter = await startCounter(bench.socket)
  const rig = await startOn(counter.socket, bench)
  try {
    const pid = rig.plugins.provider('p').status().pid ?? 0
    const leases = await Promise.all(Array.from({ length: live }, () => lease(rig)))
    const [requests, plugin, host] = [await counter.count(), await cpuSeconds(pid), process.cpuUsage()]
    await sleep(restMs)
    const { user, system } = process.cpuUsage(host)
    const [asked, used] = [(await counter.count()) - requests, (await cpuSeconds(pid)) - plugin]
    const memory = `${(process.memoryUsage.rss() / 1e6).toFixed(0)} / ${(await residentMb(pid)).toFixed(0)} MB`
    await release(rig, leases)
    const minutes = restMs / 60_000
    const row = (name: string, value: string): Figure => ({
      ...{ name: `docker, ${live} workers at rest: ${name}`, value },
      ...{ baseline: '', ratio: '', aim: '' },
    })
    return [
      row('requests to the engine', `${(asked / minutes).toFixed(0)} a minute`),
      row('CPU of the host / of the plugin', `${perMinute((user + system) / 1e6)} / ${perMinute(used)} s a minute`),
      row('memory of the host / of the plugin', memory),
    ]

    function perMinute(seconds: number): string {
      return (seconds / minutes).toFixed(2)
    }
  } finally {
    await rig.stop()
    await counter.stop()
  }
}

/** Fields 14 and 15 of proc(5)'s stat, in hundredths of a second. */
async function cpuSeconds(pid: number): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / 100
}
