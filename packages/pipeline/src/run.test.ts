import { once } from 'node:events'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { PipelineEvent } from './events.ts'
import { parsePipeline } from './file/load.ts'
import { fakeMuster, type FakeMuster, type Script, tarOf } from './muster.test.helper.ts'
import { PoolMissingError, type RunOptions, runPlan } from './run.ts'

let temp: TempFolder
beforeEach(async () => {
  temp = await tempFolder('run')
  await writeFile(join(temp.path, 'file.txt'), 'content')
})
afterEach(async () => {
  await temp.remove()
})

async function start(yaml: string, muster: FakeMuster, options: Partial<RunOptions> = {}) {
  const { plan, problems } = parsePipeline(join(temp.path, 'p.yaml'), yaml)
  if (plan === undefined) throw new Error(JSON.stringify(problems))
  const events: PipelineEvent[] = []
  const result = await runPlan(plan, { muster, pool: 'local', onEvent: (event) => void events.push(event), ...options })
  const outcomes = Object.fromEntries(result.jobs.map(({ job, outcome }) => [job, outcome]))
  return { result, outcomes, events }
}

const untilCancelled: Script = async (run) => {
  if (!run.cancelled.aborted) await once(run.cancelled, 'abort')
  return {}
}

describe('order', () => {
  it('runs what can run at once, and the rest after what it needs', async () => {
    let arrived = 0
    const { promise: all, resolve } = Promise.withResolvers<void>()
    const together: Script = async () => {
      if (++arrived === 3) resolve()
      await all
      return 0
    }
    const muster = fakeMuster({ meet: together })
    const { result, events } = await start(
      'jobs: { a: { run: meet }, b: { matrix: { v: [1, 2] }, run: meet }, c: { needs: [a, b], run: last } }',
      muster,
    )
    expect(result).toMatchObject({ outcome: 'passed', exitCode: 0, left: [] })
    expect(muster.runs.map((run) => run.request.labels?.['job'])).toEqual(['a', 'b (1)', 'b (2)', 'c'])
    const ends = events.filter((event) => event.type === 'job-end').map((event) => event.job)
    expect(ends.at(-1)).toBe('c')
    expect(events.at(-1)?.type).toBe('end')
  })

  it('has no more at once than asked', async () => {
    const muster = fakeMuster()
    await start('jobs: { a: { matrix: { v: [1, 2, 3, 4, 5] }, run: x } }', muster, { parallel: 2 })
    expect(muster.runs).toHaveLength(5)
    expect(muster.peak).toBeLessThanOrEqual(2)
  })

  it('runs only what is asked for, with what that needs', async () => {
    const muster = fakeMuster()
    const yaml = 'jobs: { a: { run: x }, b: { needs: [a], run: x }, c: { matrix: { v: [1, 2] }, run: x }, d: { run: x } }'
    const { outcomes } = await start(yaml, muster, { only: ['b', 'c (2)'] })
    expect(outcomes).toEqual({ a: 'passed', b: 'passed', 'c (2)': 'passed' })
    await expect(start(yaml, muster, { only: ['e'] })).rejects.toThrow("there is no job 'e'; there are: a, b, c (1), c (2), d")
  })

  it('takes the pool of the job, then that of the call, then that of the file', async () => {
    const muster = fakeMuster()
    const yaml = 'jobs: { a: { run: x, pool: own }, b: { run: x } }'
    await start(`pool: file\n${yaml}`, muster, { pool: 'call' })
    const { plan } = parsePipeline(join(temp.path, 'p.yaml'), `pool: file\n${yaml}`)
    await runPlan(plan!, { muster })
    expect(muster.runs.map((run) => run.request.pool)).toEqual(['own', 'call', 'own', 'file'])
    const bare = parsePipeline(join(temp.path, 'p.yaml'), yaml).plan!
    await expect(runPlan(bare, { muster })).rejects.toThrow(PoolMissingError)
  })
})

describe('what a job gets and gives', () => {
  it('is asked of Muster as the file says', async () => {
    const muster = fakeMuster()
    await start(
      'name: demo\nenv: { CI: "1" }\njobs: { a: { run: "echo ${v}", matrix: { v: [x] }, env: { V: "${v}" }, image: "i:${v}", timeout: 5s, queue: 1m, workdir: sub, resources: { cpu: 1 } } }',
      muster,
    )
    expect(muster.runs[0]?.request).toEqual({
      pool: 'local',
      command: ['sh', '-ec', 'echo x'],
      env: { CI: '1', V: 'x' },
      inputs: [{ name: 'workspace', path: '.' }],
      outputs: [],
      labels: { pipeline: 'demo', job: 'a (x)', 'pipeline-run': expect.stringMatching(/^[0-9a-f-]{36}$/) },
      detachMs: 120_000,
      image: 'i:x',
      resources: { cpu: 1 },
      workdir: 'sub',
      timeoutMs: 5000,
      queueTimeoutMs: 60_000,
    })
  })

  it('uploads one packed workspace to all, and artifacts to those that take them', async () => {
    const bundle = await tarOf({ 'dist/a.js': 'a', 'dist/b.js': 'b'.repeat(5000) })
    const muster = fakeMuster({ make: () => ({ code: 0, outputs: { bundle } }) })
    const { events } = await start(
      'jobs: { build: { run: make, outputs: { bundle: dist } }, same: { run: x, inputs: { bundle: dist } }, deep: { run: x, inputs: { bundle: lib/code } } }',
      muster,
    )
    const [build, same, deep] = ['build', 'same', 'deep'].map((job) => muster.of(job)[0])
    expect(build?.inputs.get('workspace')).toEqual(same?.inputs.get('workspace'))
    expect(String(build?.inputs.get('workspace'))).toContain('file.txt')
    expect(same?.inputs.get('bundle')).toEqual(bundle)
    expect(same?.request.inputs?.[1]).toEqual({ name: 'bundle', path: '.' })
    // Under another name the tree is packed anew: `code`, beside which it stands, is in `lib`.
    expect(deep?.request.inputs?.[1]).toEqual({ name: 'bundle', path: 'lib' })
    expect(String(deep?.inputs.get('bundle'))).toContain('code/b.js')
    const out = events.find((event) => event.type === 'output')
    const into = events.find((event) => event.type === 'input' && event.job === 'same' && event.from === 'build')
    expect(into).toMatchObject({ artifact: 'bundle', sha256: out?.sha256, bytes: bundle.length })
  })

  it('fetches again what came with other bytes, and says so when it stays so', async () => {
    const script: Script = async () => ({ code: 0, outputs: { o: await tarOf({ 'd/x': '1' }) } })
    const yaml = 'jobs: { a: { run: make, outputs: { o: d } } }'
    const once = fakeMuster({ make: script })
    once.spoil = 1
    expect((await start(yaml, once)).outcomes).toEqual({ a: 'passed' })
    const always = fakeMuster({ make: script })
    always.spoil = 100
    const { result } = await start(yaml, always)
    expect(result).toMatchObject({ outcome: 'infrastructure', exitCode: 125 })
    expect(result.jobs[0]?.reason).toMatch(
      /^the artifact o cannot be fetched: sha256 [0-9a-f]{64} arrived, and [0-9a-f]{64} was sent$/,
    )
  })

  it('keeps artifacts when asked, those of failed jobs too', async () => {
    const muster = fakeMuster({ fail: async () => ({ code: 1, outputs: { report: await tarOf({ 'r/x': 'bad' }) } }) })
    const folder = join(temp.path, 'kept')
    await start('jobs: { a: { run: fail, outputs: { report: r, absent: { path: q, optional: true } } } }', muster, {
      artifacts: folder,
    })
    expect(await readdir(folder)).toEqual(['report.tar'])
    expect(String(await readFile(join(folder, 'report.tar')))).toContain('bad')
  })

  it('fails a job whose artifact was never made', async () => {
    const yaml = 'jobs: { a: { run: x, outputs: { o: { path: d, optional: true } } }, b: { run: x, inputs: { o: d } } }'
    const { result } = await start(yaml, fakeMuster())
    expect(result).toMatchObject({
      exitCode: 1,
      jobs: [{ outcome: 'passed' }, { outcome: 'failed', reason: "'a' made no 'o'", attempts: 1 }],
    })
  })

  it('gives every byte of a log, and its end for a failure', async () => {
    const lines = Array.from({ length: 40 }, (_, n) => `line ${n}`)
    const muster = fakeMuster({
      noisy(run) {
        run.print('stdout', `${lines.join('\n')}\npart`)
        run.print('stderr', Buffer.from([0xe2, 0x82]))
        run.print('stderr', Buffer.from([0xac]))
        return 3
      },
    })
    const { result, events } = await start('jobs: { a: { run: noisy } }', muster)
    const bytes = events.filter((event) => event.type === 'log')
    expect(Buffer.concat(bytes.filter((event) => event.stream === 'stdout').map((event) => event.data)).toString()).toBe(
      `${lines.join('\n')}\npart`,
    )
    expect(result.jobs[0]).toMatchObject({
      outcome: 'failed',
      exitCode: 3,
      queueMs: 250,
      launchMs: 180,
      runMs: 400,
      warm: false,
      worker: 'w1',
      provider: 'fake',
    })
    expect(result.jobs[0]?.tail).toHaveLength(30)
    expect(result.jobs[0]?.tail.slice(-2)).toEqual(['part', '€'])
  })
})

describe('an end that is not good', () => {
  const chain =
    'jobs: { bad: { run: fail }, after: { needs: [bad], run: x }, late: { needs: [after], run: x }, apart: { needs: [first], run: x }, first: { run: slow } }'

  it('starts nothing more after a failure', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    const muster = fakeMuster({
      fail: () => 1,
      slow: async () => {
        await promise
        return 0
      },
    })
    const { outcomes, result } = await start(chain, muster, {
      onEvent: (event) => void (event.type === 'job-end' && event.job === 'bad' && resolve()),
    })
    expect(outcomes).toEqual({ bad: 'failed', after: 'skipped', late: 'skipped', apart: 'skipped', first: 'passed' })
    expect(result).toMatchObject({ outcome: 'failed', exitCode: 1 })
    expect(result.jobs.map((job) => job.reason)).toEqual([
      'exited with 1',
      "it needs 'bad'",
      "it needs 'after'",
      "'bad' did not pass",
      undefined,
    ])
  })

  it('goes on with the rest when asked', async () => {
    const muster = fakeMuster({ fail: () => 1 })
    const { outcomes } = await start(chain, muster, { keepGoing: true })
    expect(outcomes).toEqual({ bad: 'failed', after: 'skipped', late: 'skipped', apart: 'passed', first: 'passed' })
  })

  it.each([
    ['timeout', 'failed', 1],
    ['oom', 'failed', 1],
    ['infrastructure', 'infrastructure', 125],
    ['unknown', 'infrastructure', 125],
    ['cancelled', 'cancelled', 130],
  ] as const)('%s is told as %s, exit code %i', async (outcome, wanted, exitCode) => {
    const muster = fakeMuster({ end: () => ({ outcome, reason: 'so it was' }) })
    expect((await start('jobs: { a: { run: end } }', muster)).result).toMatchObject({
      outcome: wanted,
      exitCode,
      jobs: [{ outcome }],
    })
  })

  it('runs a job again when its worker failed, and never when its command did', async () => {
    let times = 0
    const flaky: Script = () => (++times < 3 ? { outcome: 'infrastructure', reason: 'lost' } : 0)
    const muster = fakeMuster({ flaky, fail: () => 1, never: () => ({ outcome: 'infrastructure' }) })
    const first = await start('jobs: { a: { run: flaky, retries: 5 } }', muster)
    expect(first.result.jobs[0]).toMatchObject({ outcome: 'passed', attempts: 3 })
    expect(first.events.filter((event) => event.type === 'retry').map((event) => event.reason)).toEqual(['lost', 'lost'])
    const second = await start('retries: 2\njobs: { b: { run: fail }, c: { run: never } }', muster, { keepGoing: true })
    expect(second.result.jobs.map((job) => job.attempts)).toEqual([1, 3])
    expect(second.result.exitCode).toBe(1)
  })

  it('tells when Muster refuses', async () => {
    const { result } = await start('jobs: { a: { run: x } }', fakeMuster(), { pool: 'narrow' })
    expect(result).toMatchObject({
      exitCode: 125,
      jobs: [{ outcome: 'infrastructure', reason: 'no worker of pool narrow can be this. Ask for less.' }],
    })
  })

  it.each([
    ['jobs: { a: { run: x } }', 'none', '--pool'],
    ['pool: none\njobs: { a: { run: x } }', undefined, "p.yaml: 'pool'"],
    ['jobs: { a: { run: x }, b: { needs: [a], pool: none, run: x } }', 'local', "p.yaml: 'jobs.b.pool'"],
  ])('%j on pool %s: a pool that there is not is told with its place, and nothing runs', async (yaml, pool, place) => {
    const muster = fakeMuster()
    const failure = await start(yaml, muster, { pool } as Partial<RunOptions>).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(PoolMissingError)
    expect((failure as Error).message).toMatch(`${place}: there is no pool none. Pools: local.`)
    expect(muster.runs).toEqual([])
  })

  it('names workers that are still there', async () => {
    const muster = fakeMuster()
    // The first look finds it going, the next ones gone.
    let looks = 0
    const findWorker = muster.findWorker.bind(muster)
    muster.findWorker = async (id) => {
      muster.phase = ++looks > 4 ? 'terminated' : 'terminating'
      return findWorker(id)
    }
    expect((await start('jobs: { a: { run: x } }', muster)).result.left).toEqual([])
    expect(looks).toBeGreaterThan(4)
  })
})

describe('cancellation', () => {
  it('cancels what runs, starts nothing more, and waits for the ends', async () => {
    const cancel = new AbortController()
    const muster = fakeMuster({ wait: untilCancelled })
    const { result, outcomes } = await start('jobs: { a: { run: wait }, b: { run: wait }, c: { needs: [a], run: x } }', muster, {
      cancel: cancel.signal,
      onEvent: (event) =>
        void (event.type === 'job-state' && event.job === 'b' && event.state === 'running' && cancel.abort('SIGINT')),
    })
    expect(outcomes).toEqual({ a: 'cancelled', b: 'cancelled', c: 'skipped' })
    expect(result).toMatchObject({ outcome: 'cancelled', exitCode: 130 })
    expect(muster.cancels.sort()).toEqual(['a', 'b'])
  })

  it('cancels a run that was only just made', async () => {
    const cancel = new AbortController()
    const muster = fakeMuster({ wait: untilCancelled })
    const { result } = await start('jobs: { a: { run: wait } }', muster, {
      cancel: cancel.signal,
      onEvent: (event) => void (event.type === 'job-begin' && cancel.abort('SIGTERM')),
    })
    expect(result.exitCode).toBe(130)
    expect(muster.runs).toHaveLength(1)
  })

  it('kills when asked twice', async () => {
    const [cancel, force] = [new AbortController(), new AbortController()]
    const stubborn: Script = async (run) => {
      await untilCancelled(run)
      force.abort('SIGINT again')
      await new Promise((resolve) => setImmediate(resolve))
      return {}
    }
    const muster = fakeMuster({ stubborn })
    await start('jobs: { a: { run: stubborn } }', muster, {
      cancel: cancel.signal,
      force: force.signal,
      onEvent: (event) => void (event.type === 'job-state' && event.state === 'running' && cancel.abort('SIGINT')),
    })
    expect(muster.cancels).toEqual(['a', 'a!'])
  })

  it('ends every run when the listener fails', async () => {
    const muster = fakeMuster({
      wait: untilCancelled,
      talk: (run) => {
        run.print('stdout', 'x')
        return untilCancelled(run)
      },
    })
    const failing = start('jobs: { a: { run: talk }, b: { run: wait } }', muster, {
      onEvent: (event) => {
        if (event.type === 'log') throw new Error('nobody listens')
      },
    })
    await expect(failing).rejects.toThrow('nobody listens')
    expect([...new Set(muster.cancels)].sort()).toEqual(['a', 'b'])
  })
})
