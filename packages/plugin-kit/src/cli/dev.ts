import { mkdir, readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { connect, discover, isMusterError, type MusterClient, type MusterError } from '@muster/client'
import * as z from 'zod'
import { openAuthor } from '../author.ts'
import { watchPlugin } from '../build.ts'
import { bannerOf, devNameOf, durationOf } from '../dev.ts'
import { PluginFault, readJson } from '../finding.ts'
import { print, say } from '../io.ts'
import { placed } from '../setup.ts'

export interface DevCommand {
  folder: string
  for: string
  settings: string
  source: string
  name?: string
  config?: string
  data?: string
}

/** Until it is told to end, or its deadline has come. */
export async function dev(command: DevCommand): Promise<boolean> {
  const folder = resolve(command.folder)
  const { pack } = await openAuthor(folder)
  const name = command.name ?? devNameOf(pack.name)
  const until = new Date(Date.now() + (durationOf(command.for) ?? 0))
  const client = await clientOf(command)
  const over = Promise.withResolvers<'asked' | 'deadline' | MusterError>()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => over.resolve('asked'))
  const timer = setTimeout(() => over.resolve('deadline'), until.getTime() - Date.now())
  let attached = false
  let last = Promise.resolve()

  async function attach(): Promise<void> {
    try {
      const sections = await readSettings(folder, command.settings)
      const { version, changed } = await client.dev.attach(name, { folder, until: until.toISOString(), ...sections })
      if (!attached) print(bannerOf({ package: pack.name, version, name, folder, until }))
      else if (changed) print(`${version} has taken over`)
      attached = true
    } catch (error) {
      if (error instanceof PluginFault) return tell(error)
      if (!isMusterError(error)) throw error
      // What the author can mend is mended while this goes on.
      if (error.code !== 'config-refused') return attached ? say(error.message) : over.resolve(error)
      for (const { message } of error.problem?.errors ?? []) print(`${name}: ${message}`)
      say(attached ? 'the build before goes on' : 'it is not attached yet')
    }
  }
  const watched = await watchPlugin(folder, {
    source: command.source,
    built: () => void (last = last.then(attach).catch((error: unknown) => over.reject(error))),
    failed: tell,
  })
  try {
    const why = await over.promise
    await watched.stop()
    await last
    if (isMusterError(why)) throw refused(why)
    if (why === 'deadline') print(`its deadline has come: the daemon takes ${name} away`)
    else if (attached) await detach(client, name)
    return true
  } finally {
    clearTimeout(timer)
    await watched.stop()
    client.close()
  }
}

async function detach(client: MusterClient, name: string): Promise<void> {
  await client.dev.detach(name).catch((error: unknown) => {
    if (!isMusterError(error) || error.code !== 'not-found') throw error
  })
  print(`${name} is taken away; its provider goes once its last worker is gone`)
}

async function clientOf({ config, data }: DevCommand): Promise<MusterClient> {
  try {
    return connect(await discover({ ...(config === undefined ? {} : { config }), ...(data === undefined ? {} : { data }) }))
  } catch (error) {
    throw isMusterError(error) ? refused(error) : error
  }
}

function refused({ message, hint }: MusterError): PluginFault {
  return new PluginFault({ place: 'the daemon', reason: message, fix: hint ?? 'see the reason' })
}

function tell({ findings }: PluginFault): void {
  for (const { place, reason, fix } of findings) print(`${place}: ${reason}\n  fix: ${fix}`)
}

const section = z.record(z.string(), z.unknown()).exactOptional()
const settingsSchema = z.strictObject({ provider: section, pool: section })

/** Absent: both sections are empty. `${dir}` in it is a folder for the plugin's workers, `${package}` that of the plugin. Error: PluginFault. */
async function readSettings(folder: string, name: string): Promise<z.infer<typeof settingsSchema>> {
  const file = resolve(folder, name)
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '{}'
    throw error
  })
  const dir = join(folder, '.muster-dev')
  if (text.includes('${dir}')) await mkdir(dir, { recursive: true })
  const { value, at } = readJson(name, text)
  const parsed = settingsSchema.safeParse(placed(value, { dir, package: folder }))
  if (parsed.success) return parsed.data
  throw new PluginFault(
    ...parsed.error.issues.map(({ path, message }) => ({
      place: at(path.filter((key) => typeof key !== 'symbol')),
      reason: message,
      fix: 'write "provider" and "pool", as the sections of muster.yaml, without "plugin" and "placement"',
    })),
  )
}
