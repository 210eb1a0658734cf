/** A complete worker provider over the fake vendor: every optional method, real processes, state that survives the plugin. */
import { writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { ProviderError } from '../../errors.ts'
import type { WorkerCapabilities } from '../../plugin.ts'
import type { Call, ListQuery, WorkerObservation, WorkerProvider, WorkerTarget } from '../../provider.ts'
import type { OwnerTags } from '../../spec.ts'
import { cellState, changed, pidOf, readText, signalQuietly } from './cell.ts'
import type { FakeConfig } from './config.ts'
import type { Life } from './life.ts'
import { bringUp, furnish, isReady } from './machine.ts'
import { checkSpec, checkTarget, digestOf, grantedResources, handleOf, toRecord } from './translate.ts'
import { type FakeVendor, openVendor, sizeOf, type WorkerRecord } from './vendor.ts'
import { exitOf, usedIn, workspace } from './workspace.ts'

export interface FakeProviderOptions {
  config: Required<Omit<FakeConfig, 'secret' | 'slots'>> & Pick<FakeConfig, 'secret' | 'slots'>
  capabilities: WorkerCapabilities
  life: Life
  now(): number
}

/** One that does as it is told; {@link withFaults} makes it misbehave. */
export function steadyProvider({ config, capabilities, life, now }: FakeProviderOptions): {
  provider: WorkerProvider
  vendor: FakeVendor
} {
  const vendor = openVendor({ dir: config.dir, life, now, goneMs: config.goneMs })
  const events = join(vendor.dir, 'events')

  /** What a vendor does first: looks at the caller's secret. A refused one is asked anew, once. */
  async function enter(call: Call): Promise<void> {
    while (vendor.stalled()) await changed(vendor.dir, call.signal)
    if (config.secret === undefined) return
    const wanted = readText(join(vendor.dir, 'token'))?.trim()
    const first = await call.secret(config.secret)
    if (wanted === undefined || first.value === wanted) return
    const second = await call.secret(config.secret, { refused: first.version })
    if (second.value !== wanted) throw new ProviderError('auth', 'the vendor refused the secret', { effect: 'none' })
  }

  function fence(owner: string, call: Call): void {
    if (capabilities.fencing === 'vendor' && !vendor.admit(owner, call.epoch))
      throw new ProviderError('conflict', `epoch ${call.epoch} is over`, { effect: 'none' })
  }

  function reach(part: string): void {
    if (vendor.outages().includes(part))
      throw new ProviderError('transient', `part ${part} cannot be reached`, { effect: 'none' })
  }

  async function find(target: WorkerTarget, call: Call): Promise<WorkerRecord> {
    await enter(call)
    checkTarget(target)
    const record = vendor.get(target.id)
    if (record === undefined) throw new ProviderError('not-found', `no worker ${target.id}`, { effect: 'none' })
    reach(record.part)
    furnish(vendor, record)
    return record
  }

  async function observe(record: WorkerRecord): Promise<WorkerObservation> {
    const { id, tags, part, lifetimeMs } = record
    const home = vendor.folder(id)
    const over = lifetimeMs !== undefined && now() >= record.createdAt + lifetimeMs
    if (over && !vendor.marks(id).has('expired')) {
      vendor.mark(id, 'expired')
      await endCommands(record, 'SIGKILL')
    }
    const marks = vendor.marks(id)
    const seen: WorkerObservation = { id, handle: handleOf(record), tags, phase: 'running', ready: false, part }
    const problem = vendor.problem(id)
    if (problem !== undefined) seen.problem = problem
    const main = record.command === undefined ? undefined : cellState(join(home, 'main'), home)
    if (main?.state === 'exited') seen.exit = exitOf(main)
    else if (marks.has('expired')) seen.exit = { reason: 'its lifetime is over' }
    if (marks.has('stopping')) seen.phase = 'stopping'
    else if (marks.has('lost')) seen.phase = 'lost'
    else if (seen.exit !== undefined) seen.phase = 'exited'
    else if (marks.has('suspended')) seen.phase = 'suspended'
    else if (main?.state === 'lost') seen.phase = 'lost'
    else if (main?.state === 'absent' || problem !== undefined) seen.phase = 'provisioning'
    if (seen.phase === 'running') seen.ready = record.readiness === undefined || (await isReady(vendor, record, record.readiness))
    return seen
  }

  /** A signal to everything that runs as a command of the worker: the main one, services, execs. */
  async function endCommands(record: WorkerRecord, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    await life.step('stop')
    for (const cell of vendor.cells(record.id)) {
      const pid = pidOf(cell)
      if (pid !== undefined && cellState(cell, vendor.folder(record.id)).state === 'running') signalQuietly(-pid, signal)
    }
  }

  async function waitForEnd(record: WorkerRecord, until: number, call: Call): Promise<void> {
    const home = vendor.folder(record.id)
    const runs = (): boolean => vendor.cells(record.id).some((cell) => cellState(cell, home).state === 'running')
    while (vendor.get(record.id) !== undefined && runs() && Date.now() < until) await changed(home, call.signal)
  }

  /** A worker whose stop takes its time at the vendor is gone when that is over. */
  async function settle(record: WorkerRecord): Promise<boolean> {
    const goneAt = readText(join(vendor.folder(record.id), 'stopping'))
    if (goneAt === undefined || goneAt === '' || Number(goneAt) > now()) return true
    await vendor.remove(record.id)
    return false
  }

  function matches(tags: OwnerTags, query: Pick<ListQuery, 'tags'>): boolean {
    return tags['muster-owner'] === query.tags['muster-owner'] && tags['muster-provider'] === query.tags['muster-provider']
  }

  const poolFile = (tags: Omit<OwnerTags, 'muster-worker' | 'muster-epoch'>, digest: string): string =>
    join(vendor.dir, 'pools', `${tags['muster-owner']}.${tags['muster-provider']}.${tags['muster-pool']}.${digest}`)

  const provider: WorkerProvider = {
    async probe(call) {
      await enter(call)
      return { state: 'ready', facts: { parts: config.parts.join(' ') }, notes: ['no isolation: workers are plain processes'] }
    },

    async preparePool({ pool: _pool, tags, ...wanted }, call) {
      await enter(call)
      const digest = digestOf(wanted).slice(0, 12)
      await life.step('prepare')
      vendor.note({ kind: 'effect', op: 'prepare' }, { call })
      writeFileSync(poolFile(tags, digest), '')
      return { handle: { v: 2, data: { pool: digest } }, digest }
    },

    async unpreparePool({ pool, handle }, call) {
      await enter(call)
      const live = vendor.ids().some((id) => {
        const tags = vendor.get(id)?.tags
        return tags !== undefined && Object.entries(pool.tags).every(([name, value]) => tags[name as keyof OwnerTags] === value)
      })
      if (live) throw new ProviderError('conflict', `pool ${pool.pool} has live workers`, { effect: 'none' })
      await life.step('unprepare')
      vendor.note({ kind: 'effect', op: 'unprepare' }, { call })
      await rm(poolFile(pool.tags, (handle.data as { pool: string }).pool), { force: true })
    },

    async launch(spec, call) {
      await enter(call)
      checkSpec(spec, capabilities)
      fence(spec.tags['muster-owner'], call)
      const record = toRecord(spec, { parts: config.parts, now: now() })
      reach(record.part)
      if (config.slots !== undefined && vendor.get(spec.id) === undefined && vendor.ids().length >= config.slots)
        throw new ProviderError('capacity', `all ${config.slots} slots are taken`, { effect: 'none' })
      await life.step('create')
      const made = vendor.create(record)
      if (made === 'created') {
        vendor.note({ kind: 'effect', op: 'create' }, { worker: spec.id, call })
        vendor.tell(spec.id)
      } else if (made.digest !== record.digest) {
        throw new ProviderError('conflict', `worker ${spec.id} was launched with another spec`, { effect: 'none' })
      }
      await life.step('start')
      if (!vendor.marks(spec.id).has('stopping')) await bringUp(vendor, record)
      vendor.tell(spec.id)
      const granted = grantedResources(spec.resources)
      return granted === undefined ? { handle: handleOf(record) } : { handle: handleOf(record), granted }
    },

    async terminate(target, how, call) {
      await enter(call)
      checkTarget(target)
      const record = vendor.get(target.id)
      if (record !== undefined) {
        fence(record.tags['muster-owner'], call)
        if (!how.force) reach(record.part)
        vendor.note({ kind: 'effect', op: 'stop' }, { worker: target.id, call })
        vendor.mark(target.id, 'stopping')
        vendor.tell(target.id)
        if (!how.force && how.graceMs > 0) {
          await endCommands(record, 'SIGTERM')
          await waitForEnd(record, Date.now() + how.graceMs, call)
        }
        if (config.stopMs > 0 && !how.force) {
          await endCommands(record, 'SIGKILL')
          const by = now() + config.stopMs
          vendor.mark(target.id, 'stopping', String(by))
          return { state: 'terminating', by: new Date(by).toISOString() }
        }
      }
      await vendor.remove(target.id)
      if (record !== undefined) {
        vendor.note({ kind: 'effect', op: 'remove' }, { worker: target.id, call })
        vendor.tell(target.id)
      }
      return { state: 'gone' }
    },

    async list(query, call) {
      await enter(call)
      const asOf = new Date(now()).toISOString()
      const blind = vendor.outages().filter((part) => config.parts.includes(part))
      const ghosts = new Map(vendor.ghosts().map((record) => [record.id, record]))
      const ids = [
        ...vendor.ids(query.cursor),
        ...[...ghosts.keys()].filter((id) => query.cursor === undefined || id > query.cursor),
      ]
      const workers: WorkerObservation[] = []
      let next: string | undefined
      for (const id of [...new Set(ids)].sort()) {
        const live = vendor.get(id)
        const record = live ?? ghosts.get(id)
        if (record === undefined || !matches(record.tags, query) || blind.includes(record.part)) continue
        if (live !== undefined && (now() < record.createdAt + config.launchMs || !(await settle(record)))) continue
        if (workers.length === query.limit) {
          next = workers.at(-1)?.id
          break
        }
        workers.push(
          live === undefined
            ? { id, handle: handleOf(record), tags: record.tags, phase: 'stopping', ready: false, part: record.part }
            : await observe(record),
        )
      }
      return { workers, asOf, ...(next !== undefined && { next }), ...(blind.length > 0 && { blind }) }
    },

    async inspect(targets, call) {
      await enter(call)
      const found: WorkerObservation[] = []
      for (const target of targets) {
        checkTarget(target)
        const record = vendor.get(target.id)
        if (record === undefined) continue
        reach(record.part)
        if (await settle(record)) found.push(await observe(record))
      }
      return found
    },

    async *watch(query, call) {
      let at = sizeOf(events)
      for (;;) {
        await enter(call)
        const lines = textFrom(events, at)
        at += lines.length
        for (const id of new Set(lines.split('\n').filter((line) => line !== ''))) {
          const record = vendor.get(id)
          if (record !== undefined && matches(record.tags, query)) yield await observe(record)
        }
        call.signal.throwIfAborted()
        if (lines === '') await changed(vendor.dir, call.signal)
      }
    },

    async *stats(query, call) {
      for (;;) {
        await enter(call)
        for (const id of vendor.ids()) {
          const record = vendor.get(id)
          if (record === undefined || !matches(record.tags, query) || (await observe(record)).phase !== 'running') continue
          yield { id, at: new Date(call.now()).toISOString(), ...usedIn(vendor.folder(id)) }
        }
        await delay(query.everyMs, undefined, { signal: call.signal })
      }
    },

    async headroom(call) {
      await enter(call)
      const used = vendor.ids().length
      const total = config.slots ?? 100_000
      return { slots: { free: Math.max(0, total - used), total } }
    },

    async quote({ resources }, call) {
      await enter(call)
      const cpu = resources?.cpu ?? 1
      return { pricePerHour: cpu * 0.04, currency: 'EUR', billingSeconds: 60, expectedStartMs: 5, interruptionRisk: 0 }
    },

    ...workspace({ vendor, life, tty: capabilities.exec?.tty === true, find }),
  }
  return { provider, vendor }
}

/** Whole lines from this offset on. Ids and line ends only: characters are bytes. */
function textFrom(path: string, offset: number): string {
  const size = sizeOf(path) - offset
  if (size <= 0) return ''
  const buffer = Buffer.alloc(size)
  const file = openSync(path, 'r')
  try {
    const text = buffer.toString('latin1', 0, readSync(file, buffer, 0, size, offset))
    return text.slice(0, text.lastIndexOf('\n') + 1)
  } finally {
    closeSync(file)
  }
}
