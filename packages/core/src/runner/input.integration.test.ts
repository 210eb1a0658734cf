import { createHash } from 'node:crypto'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { ExecInput } from '../provider.ts'
import { createRunner } from './index.ts'
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

describe.each(benches)('input in $name', (bench: Bench) => {
  const dir = join(root, `runs of ${bench.name}`)
  const runner = createRunner(localRaw(bench).raw, { dir, shell: bench.shell })
  const sh = (script: string, more: Partial<ExecInput> = {}): ExecInput => command([bench.shell, '-c', script], more)
  const run = async (spec: ExecInput): Promise<Collected> => await collect(await runner.exec(spec, never))

  test('input reaches the command whole, and its end too', async () => {
    const data = Buffer.alloc(3_000_000, 'abcdefghij\n\0')
    const { stdout, exit } = await run(command(['cat'], { stdin: true, input: pieces(data, 70_000) }))
    expect(hash(stdout)).toBe(hash(data))
    expect(exit.code).toBe(0)
    const empty = await run(command(['cat'], { stdin: true, input: pieces(Buffer.alloc(0), 1) }))
    expect(empty.stdout.length).toBe(0)
    expect(empty.exit.code).toBe(0)
  })

  test('a command that does not read its input ends all the same', async () => {
    const { exit } = await run(command(['head', '-c', '5'], { stdin: true, input: endless() }))
    expect(exit.code).toBe(0)
    const local = localRaw(bench)
    const spec = sh('sleep 0.3; exit 9', { stdin: true, input: endless() })
    expect((await collect(await createRunner(local.raw, { dir, shell: bench.shell }).exec(spec, never))).exit.code).toBe(9)
    await until(() => processesOf(join(dir, spec.id)).length === 0)
    // What nobody read is bounded.
    const kept = readdirSync(join(dir, spec.id)).filter((name) => name.startsWith('in.'))
    expect(kept.reduce((sum, name) => sum + statSync(join(dir, spec.id, name)).size, 0)).toBeLessThan(1_500_000)
  })

  test('input goes on after a cut, every byte once', async () => {
    const data = Buffer.from(Array.from({ length: 40_000 }, (_, i) => `${i}\n`).join(''))
    const spec = command(['cat'], { stdin: true })
    let stored = 0
    const parts: Buffer[] = []
    for (let attempt = 0; ; attempt++) {
      const local = localRaw(bench, {
        onChunk: (child) => {
          if (attempt < 4 && local.taken() > 50_000) child.kill('SIGKILL')
        },
      })
      const session = await createRunner(local.raw, { dir, shell: bench.shell }).exec(
        { ...spec, from: { stdout: stored, stderr: 0 }, input: pieces(data, 9_000) },
        never,
      )
      try {
        for await (const chunk of session.output) {
          expect(chunk.offset).toBe(stored)
          parts.push(Buffer.from(chunk.data))
          stored += chunk.data.length
        }
        expect((await session.exit).code).toBe(0)
        break
      } catch (error) {
        expect(error).toMatchObject({ code: 'transient' })
      }
    }
    expect(hash(Buffer.concat(parts))).toBe(hash(data))
  })
})

function hash(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
async function* pieces(data: Buffer, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size)
}
async function* endless(): AsyncGenerator<Uint8Array> {
  for (;;) yield Buffer.alloc(50_000, 'z')
}
