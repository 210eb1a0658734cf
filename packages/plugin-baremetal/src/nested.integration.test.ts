/** Muster on Muster: a plugin that runs inside a worker, and the end of that worker. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { callOf, execOf, gone, hold, must, newId, openRig, pidsNamed, readExec, specOf } from './rig.test.helper.ts'
import type { Orders } from './victim.test.helper.ts'

const victim = fileURLToPath(new URL('./victim.test.helper.ts', import.meta.url))

// The way in which they are hardest to find: by marks alone.
test('workers of a plugin inside a worker end with it', async () => {
  const outer = await openRig({ users: 'off', cgroup: 'off' })
  try {
    const dataDir = join(outer.dir, 'inner-data')
    await mkdir(dataDir)
    const config = { transport: 'local', root: join(outer.dir, 'inner'), users: 'off', cgroup: 'off' } as const
    const spec = specOf(hold)
    await outer.provider.launch(spec, callOf())
    const name = newId()
    const stray = `sh -c 'sleep 1000; :' ${name} >/dev/null 2>&1 &`
    const works = [specOf(hold), specOf(`${stray} setsid ${stray} sleep 1000`)]
    for (const launch of works) {
      const orders: Orders = { options: { config, dataDir }, launch }
      const command = {
        ...execOf(''),
        command: [process.execPath, '--conditions=@muster/source', victim, JSON.stringify(orders)],
      }
      const { stdout, stderr } = await readExec(await must(outer.provider.exec)({ id: spec.id }, command, callOf()))
      expect({ stdout, stderr }).toEqual({ stdout: 'ready\ndone\n', stderr: '' })
    }
    await waitFor('the inner children', () => pidsNamed(name), { until: (pids) => pids.length === 2 })
    const supervisors = (): Promise<number[]> =>
      Promise.all(works.map(({ id }) => pidsNamed(join(config.root, 'workers', id)))).then((pids) => pids.flat())
    expect(await supervisors()).toHaveLength(2)
    await gone(outer.provider, spec.id)
    expect([await supervisors(), await pidsNamed(name)]).toEqual([[], []])
  } finally {
    await outer.close()
  }
})
