/** The three providers as the fault tests need them: how a site uses one, what exists at the vendor, what is left. */
import { chmod, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fakeControl } from '@muster/core/testing'
import { engineJson } from '@muster/test/systems/engine'
import { waitFor } from '@muster/test/systems/wait'
import type { DaemonFiles } from './daemon.test.helper.ts'

export interface Vendor {
  readonly name: 'fake' | 'local' | 'docker'
  /** Files of a site whose pools `cold` (a worker is its command) and `hold` are on this vendor. */
  files(): DaemonFiles
  /** Ids of the workers of this owner that exist now, half-made ones too; one entry for each that exists. */
  existing(site: { data: string; owner: string }): Promise<string[]>
  /** How often each id was ever made, where the vendor keeps count. */
  made?(site: { data: string }): Map<string, number>
  /** Removes what it made for itself; workers are gone by then. */
  dispose?(): Promise<void>
}

/** A vendor for one site. */
export type OpenVendor = () => Promise<Vendor>

const scale = 'scale: { max: 20 }'
/** Short, so that a test of orphans need not wait. */
const host = 'reconcile: 1s\norphanGrace: 500ms'

function pools(provider: string, worker: string): string {
  return `cold: { placement: [${provider}], worker: { grace: 500ms${worker} }, ${scale} }\nhold: { placement: [${provider}], worker: { work: hold, grace: 500ms${worker} }, ${scale} }`
}

export const fakeVendor: OpenVendor = async () => ({
  name: 'fake',
  files: () => ({ providers: 'p: { plugin: fake, config: {} }', pools: pools('p', ''), plugins: { fake: 'plugin-fake' }, host }),
  async existing({ data, owner }) {
    const control = fakeControl(vendorDir(data))
    return control
      .workers()
      .filter((one) => one.tags['muster-owner'] === owner)
      .map((one) => one.id)
  },
  made({ data }) {
    const counts = new Map<string, number>()
    for (const event of fakeControl(vendorDir(data)).events())
      if (event.kind === 'effect' && event.op === 'create' && event.worker !== undefined)
        counts.set(event.worker, (counts.get(event.worker) ?? 0) + 1)
    return counts
  },
})

export const vendorDir = (data: string): string => join(data, 'providers/p/vendor')

/** Workers of local processes; each site has its own folder, which their users can pass through. */
export const localVendor: OpenVendor = async () => {
  const root = await mkdtemp(join(tmpdir(), 'muster-workers-'))
  await chmod(root, 0o711)
  return {
    name: 'local',
    files: () => ({
      providers: `p: { plugin: baremetal, config: { transport: local, root: ${root} } }`,
      pools: pools('p', ''),
      plugins: { baremetal: 'plugin-baremetal' },
      host,
    }),
    async existing() {
      const names = await readdir(join(root, 'workers')).catch(() => [] as string[])
      return names.filter((name) => /^w[0-9a-z]{26}$/.test(name))
    },
    async dispose() {
      const left = (): Promise<string[]> => commandsNaming(root)
      await waitFor('the processes of its workers to end', left, { until: (lines) => lines.length === 0, timeoutMs: 30_000 })
      await rm(root, { recursive: true, force: true })
    },
  }
}

/** The command lines that name a folder. */
async function commandsNaming(folder: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^[0-9]+$/.test(name))
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')))
  return lines.flatMap((line) => (line.includes(`${folder}/`) ? [line.replaceAll('\0', ' ')] : []))
}

interface ListedContainer {
  Labels: Record<string, string>
}

export function dockerVendor(socket: string): OpenVendor {
  return async () => ({
    name: 'docker',
    files: () => ({
      providers: `p: { plugin: docker, config: { socket: ${socket} } }`,
      pools: pools('p', ', image: "muster-test/busybox:1"'),
      plugins: { docker: 'plugin-docker' },
      host,
    }),
    async existing({ owner }) {
      const filters = encodeURIComponent(JSON.stringify({ label: [`muster-owner=${owner}`] }))
      const path = `/containers/json?all=1&filters=${filters}`
      const found = await engineJson<ListedContainer[]>(socket, { method: 'GET', path })
      return found.map((one) => one.Labels['muster-worker'] ?? '')
    },
  })
}
