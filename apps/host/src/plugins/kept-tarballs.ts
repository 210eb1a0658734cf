/** The tarballs of a content store, beside what is unpacked of them: a mirror is made of these, and files that were changed are unpacked anew. */
import { mkdir, readFile, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { sha512Of } from '@muster/packed/digest'
import { namesIn } from '../names-in.ts'
import { hexOf } from './hex.ts'
import { attestationsOf, readAttestations } from './origin.ts'
import { draftId, writeWhole } from './whole.ts'

const folder = '.packed'
const whole = /^([0-9a-f]{128})\.tgz(?:\.attestations\.json)?$/
const draft = /^\.draft-[0-9a-f]{16}$/

function fileOf(store: string, sha512: string): string {
  return join(store, folder, `${hexOf(sha512)}.tgz`)
}

/** By rename: whole or not there. What lies there with other bytes is replaced. */
export async function keepTarball(tarball: Uint8Array, store: string): Promise<void> {
  const sha512 = sha512Of(tarball)
  if ((await keptTarball(sha512, [store])) === undefined) await put(store, { file: fileOf(store, sha512), content: tarball })
}

/** What was attested of them, for whoever asks a mirror that is made here. */
export async function keepAttestations(
  sha512: string,
  { store, attestations }: { store: string; attestations: unknown },
): Promise<void> {
  if (attestations === undefined) return
  await put(store, { file: attestationsOf(fileOf(store, sha512)), content: JSON.stringify(attestations) })
}

async function put(store: string, { file, content }: { file: string; content: Uint8Array | string }): Promise<void> {
  await mkdir(join(store, folder), { recursive: true, mode: 0o755 })
  await writeWhole(file, content, { mode: 0o444, draft: join(store, folder, `.draft-${draftId()}`) })
}

/** These very bytes: a file of another content is none. */
export async function keptTarball(sha512: string, stores: readonly string[]): Promise<Buffer | undefined> {
  for (const store of stores) {
    const bytes = await readFile(fileOf(store, sha512)).catch(() => undefined)
    if (bytes !== undefined && sha512Of(bytes) === sha512) return bytes
  }
  return undefined
}

/** Believed by nobody before it is verified. */
export async function keptAttestations(sha512: string, stores: readonly string[]): Promise<unknown> {
  for (const store of stores) {
    const found = await readAttestations(fileOf(store, sha512))
    if (found !== undefined) return found
  }
  return undefined
}

/** Removes those of which nothing is unpacked any more, and nobody needs them; their names in the store. */
export async function collectTarballs(
  store: string,
  { used, before, dryRun }: { used: ReadonlySet<string>; before: number; dryRun: boolean },
): Promise<string[]> {
  const unpacked = new Set(await namesIn(store))
  const removed: string[] = []
  for (const name of await namesIn(join(store, folder))) {
    const hex = whole.exec(name)?.[1]
    const mayGo = draft.test(name) || (hex !== undefined && !used.has(hex) && !unpacked.has(hex))
    const path = join(store, folder, name)
    const found = mayGo ? await stat(path).catch(() => undefined) : undefined
    if (found === undefined || found.mtimeMs >= before) continue
    if (!dryRun) await rm(path, { force: true })
    removed.push(`${folder}/${name}`)
  }
  return removed
}
