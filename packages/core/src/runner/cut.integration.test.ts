import fc from 'fast-check'
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { WorkerExit } from '../provider.ts'
import { createRunner, type RawExec } from './index.ts'
import { command, localRaw, planBenches, never, processesOf, readProc, until, type Bench } from './local.test.helper.ts'

const { root, benches, make, remove } = planBenches()
beforeAll(make)
afterAll(remove)

type Cut = { after: number; how: 'silent' | 'reject' | 'kill' }
type Step = { stream: 'stdout' | 'stderr'; lines: number; rest: boolean }

/** A raw exec whose `n`th connection ends as `cuts[n]` says after that many bytes of whatever it sends, protocol and bells included. */
function cutting(bench: Bench, cuts: readonly Cut[]): RawExec {
  let connections = 0
  return async (request) => {
    const cut = cuts[connections++]
    const local = localRaw(bench)
    const session = await local.raw(request)
    if (!cut) return session
    const dropped = Promise.withResolvers<{ code?: number }>()
    dropped.promise.catch(() => undefined)
    async function* output(): ReturnType<typeof take> {
      yield* take()
      if (cut?.how === 'kill') local.children[0]?.kill('SIGKILL')
      if (cut?.how === 'reject') dropped.reject(new Error('reset by peer'))
    }
    async function* take(): AsyncGenerator<{ stream: 'stdout' | 'stderr'; data: Uint8Array }, void, undefined> {
      let left = cut?.after ?? 0
      for await (const { stream, data } of session.output) {
        const part = data.subarray(0, left)
        left -= part.length
        if (part.length > 0) yield { stream, data: part }
        if (left === 0) return
      }
    }
    return { output: output(), exit: dropped.promise }
  }
}

function script(steps: readonly Step[], marker: string): string {
  const line = ({ stream, lines, rest }: Step): string =>
    `seq 1 ${lines}${stream === 'stderr' ? ' >&2' : ''}${rest ? '; sleep 0.02' : ''}`
  return [`echo x >>'${marker}'`, ...steps.map(line), 'exit 3'].join('\n')
}
function expected(steps: readonly Step[], stream: Step['stream']): string {
  return steps
    .filter((step) => step.stream === stream)
    .map(({ lines }) => Array.from({ length: lines }, (_, i) => `${i + 1}\n`).join(''))
    .join('')
}

const step = fc.record({
  stream: fc.constantFrom('stdout' as const, 'stderr' as const),
  lines: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 40_000 })),
  rest: fc.boolean(),
})
const cut = fc.record({
  after: fc.oneof(fc.integer({ min: 1, max: 120 }), fc.integer({ min: 1, max: 300_000 })),
  how: fc.constantFrom('silent' as const, 'reject' as const, 'kill' as const),
})

// One bench with each set of tools: the four shells are covered by the other suite.
describe.each(benches.filter(({ name }) => name === 'dash' || name === 'busybox'))('cut connections in $name', (bench) => {
  const dir = join(root, `cut in ${bench.name}`)

  test('whatever is cut at whatever byte, every byte comes once and the command runs once', async () => {
    let runs = 0
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 6 }), fc.array(cut, { maxLength: 6 }), async (steps, cuts) => {
        const marker = join(root, `mark ${bench.name} ${runs++}`)
        const runner = createRunner(cutting(bench, cuts), { dir, shell: bench.shell })
        const spec = command([bench.shell, '-c', script(steps, marker)])
        const stored = { stdout: 0, stderr: 0 }
        const text = { stdout: '', stderr: '' }
        for (;;) {
          try {
            const session = await runner.exec({ ...spec, from: { ...stored } }, never)
            for await (const { stream, offset, data } of session.output) {
              expect(offset).toBe(stored[stream])
              stored[stream] += data.length
              text[stream] += Buffer.from(data).toString('latin1')
            }
            expect(await session.exit).toEqual({ code: 3, reason: 'exited with 3', at: expect.any(String) as string })
            break
          } catch (error) {
            expect(error).toMatchObject({ code: 'transient' })
          }
        }
        for (const stream of ['stdout', 'stderr'] as const) expect(text[stream] === expected(steps, stream)).toBe(true)
        expect(statSync(marker).size).toBe(2)
        await createRunner(localRaw(bench).raw, { dir, shell: bench.shell }).forget(spec.id, never)
      }),
      { numRuns: 30 },
    )
    const left = (): string[] => processesOf(dir).map((pid) => readProc(pid, 'cmdline'))
    await until(() => left().length === 0, 5000).catch(() => expect(left()).toEqual([]))
  })

  test('a start that is killed at any moment, by starter or supervisor, runs the command at most once', async () => {
    let runs = 0
    const victim = fc.record({
      who: fc.constantFrom('muster-runner supervise', 'muster-runner exec'),
      after: fc.integer({ min: 0, max: 40 }),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(victim, { minLength: 1, maxLength: 3 }), async (victims) => {
        const marker = join(root, `start ${bench.name} ${runs++}`)
        const spec = command([bench.shell, '-c', `echo x >>'${marker}'; echo done`])
        const runner = createRunner(localRaw(bench).raw, { dir, shell: bench.shell })
        let text = ''
        let exit: WorkerExit | undefined
        for (let attempt = 0; exit === undefined; attempt++) {
          const next = victims[attempt]
          const killer = next && setTimeout(() => killAll(spec.id, next.who), next.after)
          try {
            const session = await runner.exec({ ...spec, from: { stdout: text.length, stderr: 0 } }, never)
            for await (const { data } of session.output) text += Buffer.from(data).toString()
            exit = await session.exit
          } catch (error) {
            expect(error).toMatchObject({ code: 'transient' })
          }
          clearTimeout(killer)
        }
        const ran = existsSync(marker) ? statSync(marker).size / 2 : 0
        if (exit.code === undefined) {
          expect(exit).toEqual({ reason: expect.stringContaining('unknown') })
          expect(ran).toBeLessThanOrEqual(1)
          expect(await runner.state(spec.id, never)).toEqual({ state: 'unknown' })
        } else {
          expect([ran, text, exit.code]).toEqual([1, 'done\n', 0])
        }
      }),
      { numRuns: 40 },
    )
    await until(() => processesOf(dir).length === 0)
  })
})

function killAll(id: string, who: string): void {
  for (const pid of processesOf(id)) {
    const line = readProc(pid, 'cmdline').replaceAll('\0', ' ')
    if (!line.includes(who)) continue
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It ended by itself.
    }
  }
}
