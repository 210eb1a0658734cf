/** Why a plugin's process is no use, by processes of a few lines. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createRedactor } from './redactor.ts'
import { startSession, type StartFault } from './session.ts'
import { strawTarget } from './testing/straw.ts'
import { openUsers } from './users.ts'

let folder: TempFolder
beforeEach(async () => {
  folder = await tempFolder('session')
})
afterEach(() => folder.remove())

async function faultOf(code: string, startMs = 5000): Promise<{ fault: StartFault; lines: string[] }> {
  const root = join(folder.path, 'plugin')
  const main = join(root, 'plugin.mjs')
  await mkdir(root)
  await writeFile(main, code)
  const target = strawTarget()
  const manifest = { ...target.plugin.manifest, limits: { ...target.plugin.manifest.limits, startMs } }
  const redactor = createRedactor()
  redactor.learn('hunter22')
  const lines: string[] = []
  try {
    await startSession({
      ...{ ...target, plugin: { ...target.plugin, manifest, root, main }, owner: 'me', redactor },
      ...{ users: openUsers({ range: { from: 60_578, to: 60_599 }, data: folder.path }), dataDir: join(folder.path, 'own', 'p') },
      onLine: (line) => void lines.push(line),
    })
  } catch (error) {
    return { fault: error as StartFault, lines }
  }
  throw new Error('it started')
}

test('one that ends by itself says how, and what it said last, without secrets; that is its own fault', async () => {
  const { fault, lines } = await faultOf(`console.error('Error: no hunter22'); process.exitCode = 3`)
  expect(fault).toMatchObject({
    hint: 'see what it said; `muster check` starts it again',
    tail: ['Error: no [secret]'],
    ...{ final: false, own: true },
  })
  expect(fault.message).toBe('describe: it ended by itself (exit 3); it said: Error: no [secret]')
  expect(lines).toEqual(['Error: no [secret]'])
})

test('of what it said the last lines are kept, however much that was', async () => {
  const { fault, lines } = await faultOf(`for (let n = 1; n <= 300; n++) console.error('line ' + n); process.exitCode = 3`)
  expect(lines).toHaveLength(300)
  expect([fault.tail.length, fault.tail[0], fault.tail.at(-1)]).toEqual([200, 'line 101', 'line 300'])
})

test('one whose vendor is away is not to blame', async () => {
  const { fault } = await faultOf(`console.error('connect ECONNREFUSED 127.0.0.1:1'); process.exitCode = 1`)
  expect([fault.own, fault.final]).toEqual([false, false])
})

test('one that says nothing in time is killed, and to blame: to describe itself it needs nobody', async () => {
  // paced: silence is seen by its time alone.
  const { fault } = await faultOf('setInterval(() => undefined, 1000)', 200)
  expect(fault.message).toMatch(/^describe: /)
  expect(fault.message).not.toMatch(/it ended by itself/)
  expect([fault.own, fault.final, fault.tail]).toEqual([true, false, []])
})

test('one that speaks otherwise than the contract is to blame', async () => {
  const { fault } = await faultOf(`import { writeSync } from 'node:fs'; writeSync(3, 'HTTP/1.1 400 Bad\\r\\n\\r\\n'.repeat(9))`)
  expect(fault.message).toMatch(/^describe: /)
  expect([fault.own, fault.final]).toEqual([true, false])
})
