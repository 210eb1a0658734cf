import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findDocker } from '@muster/test/systems/docker'
import { ensureImage } from '@muster/test/systems/images'
import { type MusterDaemon, startMuster } from '@muster/test/systems/muster'
import { suiteWith } from '@muster/test/systems/presence'
import { type RunningProcess, startProcess } from '@muster/test/systems/process'
import { tempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const here = import.meta.dirname
const cli = join(here, '../../packages/pipeline/src/cli.ts')

/** muster-pipeline as a user calls it, from its sources. */
async function pipeline(daemon: MusterDaemon, ...args: string[]): Promise<RunningProcess> {
  return startProcess([process.execPath, '--conditions=@muster/source', cli, 'run', ...args, '-c', daemon.config], {
    env: { ...process.env, NO_COLOR: '1' },
  })
}

async function ended(daemon: MusterDaemon, ...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const run = await pipeline(daemon, ...args)
  const { code } = await run.exited
  return { code, stdout: run.stdout(), stderr: run.stderr() }
}

function checkExample({ code, stdout, stderr }: { code: number | null; stdout: string; stderr: string }, provider: string): void {
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' })
  const jobs = [
    'lint',
    'build',
    'test (parse, UTC)',
    'test (parse, Asia/Tokyo)',
    'test (format, UTC)',
    'test (format, Asia/Tokyo)',
    'package',
  ]
  const rows = jobs.map((job) => stdout.split('\n').find((line) => line.startsWith(`${job} `) && line.endsWith('passed')))
  expect(rows).not.toContain(undefined)
  const workers = rows.map((row) => /w[0-9a-z]{26}/.exec(row ?? '')?.[0])
  expect(new Set(workers).size).toBe(jobs.length)
  for (const row of rows) expect(row).toContain(`  ${provider} `)
  expect(stdout).toContain('durations: 7 jobs passed in ')
  expect(stdout).toContain('\nleft: nothing\n')
  // The artifact has one digest where it comes out and wherever it goes in.
  const out = /bundle came out, .*sha256 ([0-9a-f]{64})/.exec(stderr)?.[1]
  const into = [...stderr.matchAll(/bundle of build goes in, .*sha256 ([0-9a-f]{64})/g)].map((match) => match[1])
  expect(into).toEqual(Array.from({ length: 5 }, () => out))
  // The content too: what `build` printed is what `package` found.
  const made = /build +\| sha256 ([0-9a-f]{64})/.exec(stdout)?.[1]
  expect(stdout).toContain(`${made}  durations.js`)
}

describe('on processes of this machine', () => {
  let daemon: MusterDaemon
  beforeAll(async () => {
    daemon = await startMuster({
      providers: { local: { plugin: 'baremetal', config: { transport: 'local' } } },
      pools: { local: { placement: ['local'], worker: { work: 'hold', grace: '2s' }, scale: { max: 8, warm: 1 } } },
    })
  })
  afterAll(async () => {
    await daemon[Symbol.asyncDispose]()
  })

  test('the example passes, each job on a worker of its own, and leaves nothing', async () => {
    checkExample(await ended(daemon, join(here, 'pipeline.yaml'), '--pool', 'local'), 'local')
    const left = await daemon.workers()
    expect(left.filter((worker) => worker.lease !== undefined)).toEqual([])
  })

  test('a planted failing test fails the pipeline by the name of its job', async () => {
    await using temp = await tempFolder('planted')
    await cp(here, temp.path, { recursive: true })
    const file = join(temp.path, 'project/test/format.test.js')
    const planted = "\ntest('is planted', () => assert.equal(format(0), 'never'))\n"
    await writeFile(file, (await readFile(file, 'utf8')) + planted)
    const { code, stdout, stderr } = await ended(daemon, join(temp.path, 'pipeline.yaml'), '--pool', 'local')
    expect(code).toBe(1)
    expect(stdout).toMatch(/^durations: failed in .*: test \(format, UTC\) failed with exit code 1/m)
    expect(stdout).toMatch(/^test \(format, Asia\/Tokyo\) failed with exit code 1 after .*; the end of its output:$/m)
    expect(stdout).toContain('is planted')
    expect(stdout).toMatch(/^package .*skipped$/m)
    expect(stderr).toContain('package')
    expect(stdout).toContain('\nleft: nothing\n')
  })

  test('Ctrl-C cancels every job, waits for their ends, and leaves nothing', async () => {
    await using temp = await tempFolder('cancelled')
    const file = join(temp.path, 'long.yaml')
    await writeFile(
      file,
      `jobs:
  polite: { run: "trap 'echo goodbye; exit 0' TERM; echo ready; while :; do sleep 0.1; done" }
  deaf: { run: "trap '' TERM; echo ready; sleep 1000" }
  later: { needs: [polite], run: echo never }
`,
    )
    const run = await pipeline(daemon, file, '--pool', 'local')
    await waitFor('both jobs to run', () => run.stdout().match(/ready/g)?.length, { until: (count) => count === 2 })
    run.kill('SIGINT')
    await run.expectExit(130)
    expect(run.stdout()).toMatch(/^polite \| goodbye$/m)
    expect(run.stdout()).toMatch(/^deaf .* SIGKILL +cancelled$/m)
    expect(run.stdout()).not.toContain('| never')
    expect(run.stdout()).toContain('\nleft: nothing\n')
  })

  test('a daemon that is killed meanwhile is waited for, and no line is lost or doubled', async () => {
    await using temp = await tempFolder('killed')
    const file = join(temp.path, 'lines.yaml')
    await writeFile(file, 'jobs:\n  count: { run: "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo line $i; sleep 0.02; done" }\n')
    const run = await pipeline(daemon, file, '--pool', 'local')
    await waitFor('the first lines', () => run.stdout().includes('line 20\n'))
    await daemon.kill()
    await daemon.start()
    await run.expectExit(0)
    const lines = [...run.stdout().matchAll(/^count \| line (\d+)$/gm)].map((match) => Number(match[1]))
    expect(lines).toEqual(Array.from({ length: 200 }, (_, index) => index + 1))
  })

  test('wrong files and names are told before anything runs', async () => {
    await using temp = await tempFolder('wrong')
    const file = join(temp.path, 'wrong.yaml')
    await writeFile(file, 'jobs:\n  a: { run: x, needs: [b] }\n  c: { runs: y }\n')
    const wrong = await ended(daemon, file, '--pool', 'local')
    expect(wrong.code).toBe(2)
    expect(wrong.stderr).toMatch(/wrong\.yaml:3:6: 'jobs\.c\.run' is missing/)
    expect(wrong.stderr).toMatch(/wrong\.yaml:3:8: unknown key 'runs' in 'jobs\.c' \(did you mean 'run'\?\)/)
    const nameless = await ended(daemon, join(here, 'pipeline.yaml'))
    expect(nameless).toMatchObject({ code: 2, stdout: '' })
    expect(nameless.stderr).toContain("no pool is named for job 'lint'")
    const unknown = await ended(daemon, join(here, 'pipeline.yaml'), '--pool', 'nowhere')
    expect(unknown).toMatchObject({ code: 2, stdout: '' })
    expect(unknown.stderr).toContain('there is no pool nowhere')
  })

  test('events are one JSON object a line', async () => {
    const { code, stdout } = await ended(daemon, join(here, 'pipeline.yaml'), '--pool', 'local', '--only', 'build', '--json')
    expect(code).toBe(0)
    const events = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { type: string; text?: string; result?: { exitCode: number; left: unknown[] } })
    expect(events[0]?.type).toBe('begin')
    expect(
      events
        .filter((event) => event.type === 'log')
        .map((event) => event.text)
        .join(''),
    ).toContain('dist/durations.js')
    expect(events.at(-1)).toMatchObject({ type: 'end', result: { exitCode: 0, left: [] } })
  })
})

suiteWith(await findDocker(), 'on containers', ({ socket }) => {
  test('the same file passes', async () => {
    const image = await ensureImage(socket, 'node')
    await using daemon = await startMuster({
      providers: { docker: { plugin: 'docker', config: { socket } } },
      pools: {
        docker: { placement: ['docker'], worker: { work: 'hold', grace: '2s', image, workdir: '/work' }, scale: { max: 8 } },
      },
    })
    checkExample(await ended(daemon, join(here, 'pipeline.yaml'), '--pool', 'docker'), 'docker')
  })
})
