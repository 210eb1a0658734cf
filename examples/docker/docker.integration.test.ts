/** The example as its README has it, with images of this machine instead of a registry's. */
import { cp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findDocker } from '@muster/test/systems/docker'
import { ensureImage, TEST_IMAGES } from '@muster/test/systems/images'
import { inventoryOf } from '@muster/test/systems/inventory'
import { type MusterDaemon, type MusterOptions, startMuster } from '@muster/test/systems/muster'
import { findPostgres } from '@muster/test/systems/postgres'
import { suiteWith } from '@muster/test/systems/presence'
import { runProcess } from '@muster/test/systems/process'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { parse } from 'yaml'
import { expectPassed, expectPlanted, type Stock, stockIn } from './stock.test.helper.ts'

const here = import.meta.dirname
const root = join(here, '../..')

suiteWith(await findDocker(), 'the example of a Docker pool', ({ socket }) => {
  suiteWith(findPostgres(), 'with a database', () => {
    let folder: TempFolder
    let daemon: MusterDaemon
    let stock: Stock
    const out = (): string => join(folder.path, 'out')

    beforeAll(async () => {
      for (const image of ['node', 'postgres'] as const) await ensureImage(socket, image)
      folder = await tempFolder('stock')
      await cp(here, folder.path, { recursive: true })
      stock = await stockIn(folder.path, out())
      await change('muster.yaml', (text) =>
        text
          .replace('/var/run/docker.sock', socket)
          .replaceAll('image: node:26', `image: ${TEST_IMAGES.node}`)
          .replace('image: postgres:18', `image: ${TEST_IMAGES.postgres}`),
      )
      await change('plugins.json', (text) => text.replace('../../packages', join(root, 'packages')))
      const { providers, pools } = parse(await readFile(join(folder.path, 'muster.yaml'), 'utf8')) as MusterOptions
      // As `muster compose` gives it, of a project that has such a file.
      const compose = join(root, 'apps/host/src/config/testing/compose-database.yaml')
      const imported = await muster('compose', compose)
      expect({ code: imported.code, stderr: imported.code === 0 ? '' : imported.stderr }).toEqual({ code: 0, stderr: '' })
      const { services } = parse(imported.stdout.replace('postgres:18', TEST_IMAGES.postgres)) as { services: object[] }
      const composed = { placement: ['docker'], worker: { image: TEST_IMAGES.postgres, network: { egress: 'none' }, services } }
      daemon = await startMuster({ providers, pools: { ...pools, composed } })
    })
    afterAll(async () => {
      await daemon[Symbol.asyncDispose]()
      await folder.remove()
    })

    const muster = (...words: string[]): ReturnType<typeof runProcess> =>
      runProcess([process.execPath, join(root, 'apps/host/bin/muster.mjs'), ...words], {
        env: { ...process.env, MUSTER_SOURCE: '1' },
      })
    async function change(name: string, how: (text: string) => string): Promise<void> {
      const file = join(folder.path, name)
      await writeFile(file, how(await readFile(file, 'utf8')))
    }
    /** What the engine has of these pools, as their names. */
    const held = async (): Promise<string[]> => {
      const of = await Promise.all(
        ['build', 'with-postgres', 'composed'].map((pool) => inventoryOf(socket, [`muster-pool=${pool}`])),
      )
      return of.flat().map((line) => line.replace(/^(\w+) \S+ muster-w[0-9a-z]{26}/, '$1 '))
    }
    const nothingLeft = (): Promise<string[]> => waitFor('nothing of it to be left', held, { until: (left) => left.length === 0 })

    test('its configuration passes `muster check`', async () => {
      const config = join(folder.path, 'muster.yaml')
      const checked = await muster('check', '-c', config)
      expect({ code: checked.code, problems: checked.stdout }).toEqual({ code: 0, problems: '' })
    })

    test('builds and tests against the database, hands out what was built by its digest, and leaves nothing', async () => {
      const run = await stock.run(daemon.config)
      const beside = ['container ', 'container -s-db', 'network -net']
      await waitFor('the database beside the job', held, { until: (now) => beside.every((one) => now.includes(one)) })
      await expectPassed(run, out())
      await nothingLeft()
    })

    test('a database of a Compose file is reached by its name and port, and goes with its worker', async () => {
      const script =
        'until psql postgres://postgres:secret@db:5432/app -Atc "show server_version_num" >/tmp/out; do sleep 0.1; done; cat /tmp/out'
      const run = await muster('run', '-q', '-c', daemon.config, '--pool', 'composed', '--', 'sh', '-c', script)
      expect({ code: run.code, stderr: run.code === 0 ? '' : run.stderr }).toEqual({ code: 0, stderr: '' })
      expect(run.stdout).toMatch(/^1[0-9]{5}$/m)
      await nothingLeft()
    })

    test('a planted failing test fails it by the name of its job, and leaves nothing either', async () => {
      await stock.plant()
      await expectPlanted(await stock.run(daemon.config))
      await nothingLeft()
    })
  })
})
