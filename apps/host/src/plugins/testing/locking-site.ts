/** A registry and a registry manifest that is locked, for tests. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import type { NetworkSettings } from '../../config/network.ts'
import { reasonOf } from '../../config/problem.ts'
import { discover } from '../discover.ts'
import type { Locking } from '../locking.ts'
import { lockHere, type LockHere } from './lock.ts'
import { startTestRegistry, type TestRegistry } from './npm-registry.ts'
import { packPlugin, type Packed } from './pack.ts'

const now: number = Date.parse('2026-01-10T00:00:00Z')
/** Old enough for a version. */
export const old: string = '2026-01-01T00:00:00.000Z'

export interface LockingSite extends AsyncDisposable {
  registry: TestRegistry
  path: string
  publish(version: string, packed?: Packed, published?: string): Promise<Buffer>
  /** Writes the registry manifest, and locks it. */
  lock(plugins: object, more?: LockHere & { file?: object }): Promise<Locking & { told: string }>
  /** What a start says, on a host with such a network. */
  start(network?: NetworkSettings): Promise<string>
}

export async function openSite(): Promise<LockingSite> {
  const temp = await tempFolder('locking')
  const registry = await startTestRegistry()
  const file = join(temp.path, 'plugins.json')
  const told = (problems: Locking['problems']): string =>
    problems.map((one) => `${one.line} ${reasonOf(one)} | ${one.fix}`).join('\n')
  return {
    registry,
    path: temp.path,
    async publish(version, packed = {}, published = old) {
      const tarball = await packPlugin({ version, ...packed })
      registry.publish(packed.name ?? '@acme/plugin', version, { tarball, published })
      return tarball
    },
    async lock(plugins, { file: more = {}, ...options } = {}) {
      const all = { registries: { default: { url: registry.url } }, ...more, plugins }
      await writeFile(file, JSON.stringify(all, null, 2))
      const done = await lockHere(file, { now, ...options })
      return { ...done, told: told(done.problems) }
    },
    async start(network) {
      const by = { stores: [join(temp.path, 'store')], shown: 'plugins.json' } as const
      return told((await discover(file, network === undefined ? by : { ...by, network })).problems)
    },
    async [Symbol.asyncDispose]() {
      await registry[Symbol.asyncDispose]()
      await temp[Symbol.asyncDispose]()
    },
  }
}
