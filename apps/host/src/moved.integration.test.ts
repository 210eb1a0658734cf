/** A data folder that was moved while local workers live: nothing of it is lost. */
import { rename, rm, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { connect } from '@muster/client'
import { removeLocalPlace } from '@muster/test/systems/muster'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { makeSite, patienceMs } from './faults/daemon.test.helper.ts'

const timeout = 300_000
const isRoot = process.getuid?.() === 0

test('its workers go on in the place that is theirs, or wait for a link from the old path', { timeout }, async () => {
  const providers = [
    'local: { plugin: baremetal, config: { transport: local } }',
    'inside: { plugin: baremetal, config: { transport: local, users: "off" } }',
  ]
  const pools = ['local', 'inside'].map((name) => `${name}: { placement: [${name}], worker: { work: hold, grace: 500ms } }`)
  const site = await makeSite({
    providers: providers.join('\n'),
    pools: pools.join('\n'),
    plugins: { baremetal: 'plugin-baremetal' },
    host: 'reconcile: 1s',
  })
  const moved = join(site.dir, 'moved')
  const client = connect({ socket: site.socket }, { patienceMs })
  try {
    await site.start()
    await site.ready()
    const script = 'echo begin; until [ -e stop ]; do sleep 0.05; done; echo end; exit 3'
    const begin = async (pool: string): Promise<{ id: string; worker: string }> => {
      const { id } = await site.client.runs.create({ pool, command: ['/bin/sh', '-c', script] })
      const { worker = '' } = await site.client.runs.wait(id, { until: 'running' })
      return { id, worker }
    }
    const [local, inside] = [await begin('local'), await begin('inside')]
    const end = async ({ id, worker }: typeof local): Promise<void> => {
      const stop = await client.workers.exec(worker, { command: ['/bin/sh', '-c', ': >stop'] })
      expect(await client.runs.wait(stop.id)).toMatchObject({ outcome: 'passed' })
      expect(await client.runs.wait(id)).toMatchObject({ outcome: 'failed', exit: { code: 3 }, worker })
      const chunks: Uint8Array[] = []
      for await (const { data } of client.runs.logs(id, { follow: false })) chunks.push(data)
      expect(Buffer.concat(chunks).toString()).toBe('begin\nend\n')
    }
    await site.stop()
    await rename(site.data, moved)
    await site.start({}, ['--data', moved])
    const status = (): Promise<string> => client.providers.get('inside').then(({ reason = '' }) => reason)
    await waitFor('the move to be told', async () => (await status()).includes('the data folder was moved'), {
      timeoutMs: patienceMs,
    })
    // Outside of the data folder nothing has moved.
    if (isRoot) await end(local)
    expect(await client.runs.get(inside.id)).toMatchObject({ state: 'running' })
    await symlink(moved, site.data)
    if (!isRoot) await end(local)
    await end(inside)
    await waitFor('all workers to be gone', async () => (await client.workers.list()).items.length === 0, {
      timeoutMs: patienceMs,
    })
  } finally {
    client.close()
    await site.stop()
    await rm(site.data, { force: true })
    await rename(moved, site.data).catch(() => undefined)
    await site.dispose()
    await removeLocalPlace(join(site.data, 'providers/local'))
  }
})
