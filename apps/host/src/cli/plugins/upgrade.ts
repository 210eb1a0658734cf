/** `muster plugins upgrade` and `rollback`: a running daemon switches first, and what it switched to is then written. */
import { randomBytes } from 'node:crypto'
import { rm, writeFile } from 'node:fs/promises'
import type { MusterClient, MusterError, PluginUpgrade } from '@muster/client'
import { setTimeout as sleep } from 'node:timers/promises'
import { candidateFileOf, dropCandidates, lockFileOf } from '../../plugins/lock.ts'
import { tellingCut, withProgress } from '../context.ts'
import { exits, print, say, state } from '../io.ts'
import { rolledBack, versioned } from './add.ts'
import { change, type ChangeOptions, type Done, type Files } from './change.ts'
import { entryOf, type Site } from './site.ts'

export interface Asking extends ChangeOptions {
  rehearse?: true
  wait?: true
  keepOld?: true
  /** Error: MusterError `no-daemon`. */
  client(): Promise<MusterClient>
}

/** Between two looks at what ends by itself. */
const LOOK_MS = 200

export async function upgradePlugin(site: Site, spec: string, options: Asking): Promise<number> {
  const at = spec.indexOf('@', 1)
  const alias = at === -1 ? spec : spec.slice(0, at)
  entryOf(site, alias)
  const client = await options.client()
  // A daemon that is not there is told of before anything is asked for.
  await client.version()
  const text = at === -1 ? {} : { text: versioned(site, alias, spec.slice(at + 1)) }
  return change(site, options, { ...text, switches: alias, before: (files) => switched(site, alias, { files, client, options }) })
}

/** Where no daemon runs, the files alone change. */
export async function rollBackPlugin(site: Site, alias: string, options: Asking): Promise<number> {
  entryOf(site, alias)
  const back = { text: rolledBack(site, alias), back: alias }
  const client = await runningClient(options)
  if (client === undefined) return change(site, options, back)
  return change(site, options, {
    ...back,
    switches: alias,
    before: (files) => switched(site, alias, { files, client, options }),
  })
}

/** Undefined where no daemon runs. */
export async function runningClient({ client: open }: Pick<Asking, 'client'>): Promise<MusterClient | undefined> {
  try {
    const client = await open()
    await client.version()
    return client
  } catch (error) {
    if (['no-daemon', 'unreachable'].includes((error as MusterError).code)) return undefined
    throw error
  }
}

interface Switching {
  files: Files
  client: MusterClient
  options: Asking
}

async function switched(site: Site, alias: string, { files, client, options }: Switching): Promise<Done> {
  const { rehearse = false, keepOld = false, wait, json } = options
  await dropCandidates(site.registryFile)
  const candidate = randomBytes(8).toString('hex')
  const next = candidateFileOf(site.registryFile, candidate)
  try {
    if (!files.same) {
      await writeFile(next, files.registry, { flag: 'wx' })
      await writeFile(lockFileOf(next), files.lock, { flag: 'wx' })
    }
    const known = rehearse
      ? 'nothing was to be switched'
      : `whether ${alias} was switched is not known, and ${files.same ? 'its files are' : 'plugins.json and the lock stay'} as they were`
    const how = { rehearse, keepOld, ...(files.same ? {} : { candidate }) }
    const asked = client.plugins.upgrade(alias, how, tellingCut(known, 'muster providers'))
    const done = await withProgress('starting it beside the one that runs …', asked)
    if (json !== true) shown(done)
    if (done.switched && wait === true) await retired(client, alias)
    const told = { upgrade: done }
    return rehearse ? { stop: done.go ? exits.ok : exits.failed, told } : { told }
  } catch (error) {
    const { problem } = error as Partial<MusterError>
    if (problem?.code !== 'plugin-refused' && problem?.code !== 'not-accounted') throw error
    for (const { path, message } of json === true ? [] : (problem.errors ?? [])) print(`${path}: ${message}`)
    say(`${problem.code}: ${problem.detail}`)
    if (problem.hint !== undefined) say(problem.hint)
    return { stop: exits.failed, told: { problem } }
  } finally {
    await rm(next, { force: true })
    await rm(lockFileOf(next), { force: true })
  }
}

function shown({ alias, before, after, go, switched: done, steps, lost, kept, errors }: PluginUpgrade): void {
  for (const { step, ok, fact } of steps) print(`${state(ok ? 'ready' : 'failed', ok ? 'ok' : 'no').padEnd(2)}  ${step}: ${fact}`)
  for (const { provider, worker, why } of lost) print(`    ${provider}/${worker}: ${why}`)
  for (const { provider, worker, why } of kept)
    print(`    ${provider}/${worker} ${done ? 'stays' : 'would stay'} with ${before}: ${why}`)
  for (const { path, message } of errors) print(`    ${path}: ${message}`)
  if (done) say(`${alias}: ${after} has taken over from ${before}`)
  else if (go && before === after) say(`${alias}: ${after} is what runs`)
  else say(`${go ? 'go' : 'no-go'}: ${alias} ${before} → ${after}; nothing was switched`)
}

/** Until nothing of the version before ends its calls any more. */
async function retired(client: MusterClient, alias: string): Promise<void> {
  for (;;) {
    const users = (await client.providers.list()).filter((one) => one.alias === alias)
    if (users.every((one) => one.retiring === 0)) return
    await sleep(LOOK_MS)
  }
}
