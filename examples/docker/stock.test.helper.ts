/** The pipeline of this example for tests, on workers of whichever kind, and all that its runs are to tell. */
import { createHash } from 'node:crypto'
import { cp, readFile, realpath, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type RunningProcess, startProcess } from '@muster/test/systems/process'
import { expect } from 'vitest'

const root = join(import.meta.dirname, '../..')

export interface Stock {
  /** Begins the pipeline on the daemon of this configuration. */
  run(config: string): Promise<RunningProcess>
  /** Plants a test that fails. */
  plant(): Promise<void>
}

/** `folder` is a copy of the example; what comes out of its pipeline is in `out`. */
export async function stockIn(folder: string, out: string): Promise<Stock> {
  // What `npm install` in the project does.
  const library = await realpath(join(root, 'node_modules/postgres'))
  await cp(library, join(folder, 'project/node_modules/postgres'), { recursive: true })
  return {
    run: (config) =>
      startProcess(
        [
          ...[process.execPath, '--conditions=@muster/source', join(root, 'packages/pipeline/src/cli.ts')],
          ...['run', join(folder, 'pipeline.yaml'), '--artifacts', out, '-c', config],
        ],
        { env: { ...process.env, NO_COLOR: '1' } },
      ),
    async plant() {
      const file = join(folder, 'project/test/stock.test.js')
      const planted = "\ntest('is planted', async () => assert.equal(await level(sql, 'bolts'), 8))\n"
      await writeFile(file, (await readFile(file, 'utf8')) + planted)
    },
  }
}

/** It ends well: tested against the database, with what was built handed out by its digest, and nothing left. */
export async function expectPassed(run: RunningProcess, out: string): Promise<void> {
  const { code } = await run.exited
  expect({ code, stderr: code === 0 ? '' : run.stderr() + run.stdout() }).toEqual({ code: 0, stderr: '' })
  expect(run.stdout()).toMatch(/^test +\| .*reads back what it wrote, on another connection too/m)
  expect(run.stdout()).toMatch(/^test +\| .* pass 3$/m)
  const given = /package came out, .*sha256 ([0-9a-f]{64})/.exec(run.stderr())?.[1]
  const taken = /package of build goes in, .*sha256 ([0-9a-f]{64})/.exec(run.stderr())?.[1]
  const kept = await readFile(join(out, 'package.tar'))
  expect([given, taken]).toEqual(Array.from({ length: 2 }, () => createHash('sha256').update(kept).digest('hex')))
  expect(run.stdout()).toMatch(/^build +\| [0-9a-f]{64} {2}migrations\/1-items\.sql$/m)
  expect(run.stdout()).toContain('\nleft: nothing\n')
}

/** It ends with the planted test, by the name of its job, and nothing left. */
export async function expectPlanted(run: RunningProcess): Promise<void> {
  await run.expectExit(1)
  expect(run.stdout()).toMatch(/^stock: failed in .*: test failed with exit code 1/m)
  expect(run.stdout()).toContain('7 !== 8')
  expect(run.stdout()).toContain('\nleft: nothing\n')
}
