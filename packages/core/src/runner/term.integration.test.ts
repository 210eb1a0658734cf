/** A worker that is to end hands SIGTERM to all that is in it: the command has its grace, and whoever follows it hears how it used it. */
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ExecChunk, ExecInput, ExecSession } from '../provider.ts'
import { createRunner, type Runner } from './index.ts'
import {
  collect,
  command,
  localRaw,
  planBenches,
  never,
  processesOf,
  until,
  type Bench,
  type Collected,
} from './local.test.helper.ts'

const { root, benches, make, remove } = planBenches()
beforeAll(make)
afterAll(remove)

/** Both, from when the follower has brought the first output: until then the signal may meet it before it has begun. */
async function following(session: ExecSession): Promise<{ heard: Promise<Collected> }> {
  const first = Promise.withResolvers<void>()
  async function* output(): AsyncGenerator<ExecChunk> {
    for await (const chunk of session.output) {
      first.resolve()
      yield chunk
    }
  }
  const heard = collect({ ...session, output: output() })
  await Promise.race([first.promise, heard])
  return { heard }
}

/** Some, as those that a follower has for a moment, are gone by then. */
function term(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

interface Worker {
  runner: Runner
  sh(script: string, more?: Partial<ExecInput>): ExecInput
  /** As `kill -TERM -1` of whoever holds the worker open. */
  termAll(id: string): void
  written(id: string, file?: string): string
  left(id: string): number[]
}

function workerOf(bench: Bench): Worker {
  const dir = join(root, `term ${bench.name}`)
  mkdirSync(dir, { mode: 0o700, recursive: true })
  const left = (id: string): number[] => processesOf(join(dir, id))
  const written = (id: string, file = 'out'): string => readFileSync(join(dir, id, file), 'utf8')
  return {
    runner: createRunner(localRaw(bench).raw, { dir, shell: bench.shell }),
    sh: (script, more = {}) => command([bench.shell, '-c', script], more),
    termAll(id) {
      const [pid = ''] = written(id, 'command').split(' ')
      // The oldest first, as the kernel goes through them.
      for (const one of [...new Set([Number(pid), ...left(id)])].toSorted((a, b) => a - b)) term(one)
    },
    written,
    left,
  }
}

// A shell that has to do without setsid ends by such a signal: it knows how its command ended by a `wait` that the signal would spoil.
const watched = benches.filter(({ name }) => name !== 'bash without setsid')

describe.each(benches)('SIGTERM to all of a worker in $name', (bench: Bench) => {
  test('nothing that the command says in its grace ends it', async () => {
    const { runner, sh, termAll, written, left } = workerOf(bench)
    const spec = sh(`trap 'echo told; sleep 0.3; echo clean >&2; exit 9' TERM; echo ready; while :; do sleep 0.05; done`)
    const { heard } = await following(await runner.exec(spec, never))
    termAll(spec.id)
    await until(() => written(spec.id, 'err').startsWith('clean\n'))
    await heard
    await until(() => left(spec.id).length === 0)
    expect(written(spec.id)).toContain('told\n')
  })
})

describe.each(watched)('who follows a command in $name when all of its worker gets SIGTERM', (bench: Bench) => {
  test('hears what it says in its grace, and how it ends', async () => {
    const { runner, sh, termAll } = workerOf(bench)
    const spec = sh(`trap 'echo told; sleep 0.3; echo clean >&2; exit 9' TERM; echo ready; while :; do sleep 0.05; done`)
    const { heard } = await following(await runner.exec(spec, never))
    termAll(spec.id)
    const { stdout, stderr, exit } = await heard
    expect([stdout.toString(), stderr.toString(), exit.code]).toEqual(['ready\ntold\n', 'clean\n', 9])
  })

  test('feeds it through several, and hears of one that ends by the signal', async () => {
    const { runner, sh, termAll, written } = workerOf(bench)
    let more: () => void = () => undefined
    const later = new Promise<void>((resolve) => (more = resolve))
    async function* input(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('one\n')
      await later
      yield Buffer.from('two\n')
    }
    const script = `trap 'echo told' TERM; while :; do if read -r line; then echo "$line"; [ "$line" != two ] || exit 4; fi; done`
    const spec = sh(script, { stdin: true, input: input() })
    const { heard } = await following(await runner.exec(spec, never))
    for (const times of [1, 2, 3]) {
      termAll(spec.id)
      await until(() => written(spec.id).split('told').length > times)
    }
    more()
    const { stdout, exit } = await heard
    expect([stdout.toString(), exit.code]).toEqual(['one\ntold\ntold\ntold\ntwo\n', 4])

    const plain = sh('echo ready; sleep 60')
    const { heard: ended } = await following(await runner.exec(plain, never))
    termAll(plain.id)
    expect((await ended).exit).toMatchObject({ reason: 'unknown: all of its worker was told to end; it ended by SIGTERM' })
  })
})
