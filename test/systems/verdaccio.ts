/** A real npm registry for tests: Verdaccio on a loopback port, with users and tokens, on a temporary folder, and nothing behind it. */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { copyFile, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import type { Presence } from './presence.ts'
import { mustRun, runProcess, startProcess } from './process.ts'
import { freePort } from './ports.ts'
import { tempFolder } from './temp.ts'
import { waitFor } from './wait.ts'

export interface Verdaccio extends AsyncDisposable {
  readonly url: string
  /** Of a user who may publish. */
  readonly token: string
  /** Text of an `.npmrc` with registry and token. */
  readonly npmrc: string
  /** Publishes a tarball as npm does, without npm. */
  publish(tarball: Buffer): Promise<void>
  /** The file of a published tarball, to be tampered with. */
  fileOf(name: string, version: string): string
  log(): string
}

const source = join(import.meta.dirname, 'verdaccio')
const cache = join(import.meta.dirname, '../../.cache')
/** Of the bundle of a compiler, as base64: more than Verdaccio takes by itself. */
const MAX_BODY = '200mb'

/** {@link startVerdaccio}, if it can be installed: once for each clone, from the package registry that this machine has. */
export async function findVerdaccio(): Promise<Presence<typeof startVerdaccio>> {
  try {
    await installed()
    return { name: 'verdaccio', system: startVerdaccio }
  } catch (error) {
    return { name: 'verdaccio', absent: `it cannot be installed: ${(error as Error).message}` }
  }
}

/** The program; exactly the locked packages, no script of them run. */
async function installed(): Promise<string> {
  const lock = await readFile(join(source, 'package-lock.json'))
  const folder = join(cache, `verdaccio-${createHash('sha256').update(lock).digest('hex').slice(0, 12)}`)
  const program = join(folder, 'node_modules/verdaccio/bin/verdaccio')
  if (existsSync(program)) return program
  const draft = `${folder}.${process.pid}`
  await mkdir(draft, { recursive: true })
  try {
    for (const name of ['package.json', 'package-lock.json']) await copyFile(join(source, name), join(draft, name))
    const install = ['npm', 'ci', '--ignore-scripts', '--no-audit', '--no-fund'] as const
    const { code, stderr } = await runProcess(install, { cwd: draft, timeoutMs: 300_000 })
    if (code !== 0) throw new Error(stderr.trim().split('\n')[0])
    await rename(draft, folder)
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
  return program
}

/** Answers when it answers. Rejects, with nothing left, when it does not come up. */
export async function startVerdaccio(): Promise<Verdaccio> {
  const folder = await tempFolder('verdaccio')
  const storage = join(folder.path, 'storage')
  let stop: () => Promise<unknown> = folder.remove
  try {
    const port = await freePort()
    const config = join(folder.path, 'config.yaml')
    await writeFile(config, configuration(folder.path, storage))
    const running = await startProcess([process.execPath, await installed(), '-c', config, '-l', `127.0.0.1:${port}`], {
      cwd: folder.path,
      env: { PATH: process.env['PATH'], HOME: folder.path },
    })
    stop = async () => {
      await running.stop()
      await folder.remove()
    }
    const url = `http://127.0.0.1:${port}/`
    await waitFor('Verdaccio to answer', async () => {
      if (!running.running()) throw new Error(`Verdaccio ended: ${running.stdout()}${running.stderr()}`)
      return (await fetch(`${url}-/ping`).catch(() => undefined))?.ok
    })
    const user = { name: 'tester', password: 'only for tests' }
    const { token } = await put<{ token: string }>(`${url}-/user/org.couchdb.user:tester`, user)
    return {
      url,
      token,
      npmrc: `registry=${url}\n${url.replace('http:', '')}:_authToken=${token}\n`,
      publish: (tarball) => publish(url, { tarball, token }),
      fileOf: (name, version) => join(storage, name, `${name.replace(/^.*\//, '')}-${version}.tgz`),
      log: () => running.stdout() + running.stderr(),
      async [Symbol.asyncDispose]() {
        await stop()
      },
    }
  } catch (error) {
    await stop()
    throw error
  }
}

async function publish(url: string, { tarball, token }: { tarball: Buffer; token: string }): Promise<void> {
  const pack = JSON.parse(packageJsonIn(gunzipSync(tarball))) as { name: string; version: string }
  const { name, version } = pack
  const file = `${name}-${version}.tgz`
  const dist = {
    shasum: createHash('sha1').update(tarball).digest('hex'),
    integrity: `sha512-${createHash('sha512').update(tarball).digest('base64')}`,
    tarball: `${url}${name}/-/${file}`,
  }
  await put(
    `${url}${name.replace('/', '%2f')}`,
    {
      _id: name,
      name,
      'dist-tags': { latest: version },
      versions: { [version]: { ...pack, _id: `${name}@${version}`, dist } },
      _attachments: {
        [file]: { content_type: 'application/octet-stream', data: tarball.toString('base64'), length: tarball.length },
      },
    },
    token,
  )
}

/** The first one of a tar: names are short there, and sizes octal. */
function packageJsonIn(tar: Buffer): string {
  for (let at = 0; at < tar.length;) {
    const text = (from: number, to: number): string => tar.toString('latin1', at + from, at + to).replace(/\0.*$/s, '')
    const size = Number.parseInt(text(124, 136), 8) || 0
    if (/^[^/]+\/package\.json$/.test(text(0, 100))) return tar.toString('utf8', at + 512, at + 512 + size)
    at += 512 + Math.ceil(size / 512) * 512
  }
  throw new Error('a tarball without package.json')
}

async function put<T>(url: string, body: object, token?: string): Promise<T> {
  const answer = await fetch(url, {
    method: 'PUT',
    headers: { 'content-type': 'application/json', ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
    body: JSON.stringify(body),
  })
  if (!answer.ok) throw new Error(`PUT ${url}: ${answer.status} ${await answer.text()}`)
  return (await answer.json()) as T
}

/** The tarball of an installed package, as it was published but for what nobody reads. */
export async function packInstalled(folder: string): Promise<Buffer> {
  await using temp = await tempFolder('packed')
  const file = join(temp.path, 'package.tgz')
  await mustRun([
    'tar',
    // Alike files are one in a store, and npm takes no links.
    '--hard-dereference',
    '--transform',
    's,^\\.,package,',
    '--exclude',
    './node_modules',
    '-C',
    folder,
    '-czf',
    file,
    './package.json',
    '.',
  ])
  return await readFile(file)
}

/** JSON is YAML. Packages of `@acme` are private; nothing is asked of any other registry. */
function configuration(folder: string, storage: string): string {
  const ours = { publish: '$authenticated', unpublish: '$authenticated' }
  return JSON.stringify({
    storage,
    auth: { htpasswd: { file: join(folder, 'htpasswd'), max_users: 10 } },
    uplinks: {},
    packages: { '@acme/*': { access: '$authenticated', ...ours }, '**': { access: '$all', ...ours } },
    web: { enable: false },
    max_body_size: MAX_BODY,
    log: { type: 'stdout', format: 'json', level: 'warn' },
  })
}
