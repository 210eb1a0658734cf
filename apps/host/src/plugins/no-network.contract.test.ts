/** What a plugin in another language reaches that asks for no network, and what the same one does where nothing keeps it. */
import { once } from 'node:events'
import { chmod, mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { requireSystem, root } from '@muster/test/require'
import { mustRun } from '@muster/test/systems/process'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Ground, openGround, type UserRange } from './ground.ts'
import { type StartedRoom, startPlugins } from './room.ts'
import { configureFixture, launchSpec, quietHost } from './testing/configure.ts'
import { lockHere } from './testing/lock.ts'
import { plainManifest } from './testing/manifest.ts'
import { packEntries } from './testing/pack.ts'

const wire = join(import.meta.dirname, '../../../../examples/plugin-python/muster_wire.py')
/** Of no other process of this machine. */
const users: UserRange = { from: 1_400_000_000 + process.pid * 10, to: 1_400_000_009 + process.pid * 10 }

interface Reached {
  uid: number
  network: string
}

let folder: TempFolder
let data: string
let servers: Server[]
let room: StartedRoom | undefined
beforeEach(async (context) => {
  await requireSystem(context, root)
  await requireSystem(context, {
    name: 'python3',
    probe: () =>
      readFile('/usr/bin/python3').then(
        () => undefined,
        () => 'it is not installed',
      ),
  })
  servers = []
  folder = await tempFolder('no-network')
  data = join(folder.path, 'data')
  await chmod(folder.path, 0o711)
  await mkdir(data, { mode: 0o700 })
})
afterEach(async ({ task }) => {
  if (task.result?.state === 'skip') return
  await room?.stop()
  room = undefined
  for (const server of servers) server.close()
  await folder.remove()
})

/** An address of this machine that is not loopback: on its way nothing leaves it. */
const outside = Object.values(networkInterfaces())
  .flatMap((all) => all ?? [])
  .find(({ family, internal }) => family === 'IPv4' && !internal)?.address

async function serve(): Promise<{ port: number; outside: string; abstract: string; file: string }> {
  const [abstract, file] = [`muster-no-network-${process.pid}`, join(folder.path, 'open.sock')]
  const open = async (...where: [string | number]): Promise<Server> => {
    const server = createServer((socket) => socket.on('error', () => undefined).end()).listen(...where)
    servers.push(server)
    await once(server, 'listening')
    return server
  }
  await open(`\0${abstract}`)
  await open(file)
  await chmod(file, 0o777)
  const { port } = (await open(0)).address() as { port: number }
  return { port, outside: outside ?? '127.0.0.2', abstract, file }
}

interface Asked {
  net?: string[]
  ground: Ground
  isolation?: 'L1' | 'L2' | 'L3'
}

/** Its level, and what it says that it reached. */
async function reached({ net = [], ground, isolation }: Asked): Promise<{ level: string | undefined; said: Reached }> {
  const name = '@muster-test/reaching'
  const { permissions } = plainManifest('')
  const given = { ...permissions, net, childProcess: true }
  const manifest = plainManifest(name, { entry: 'plugin.py', interpreter: 'python3', permissions: given })
  const files: [string, string][] = [
    ['package.json', JSON.stringify({ name, version: manifest.version, muster: 'muster-plugin.json' })],
    ['muster-plugin.json', JSON.stringify(manifest)],
    ['plugin.py', await readFile(join(import.meta.dirname, 'testing/reaching.py'), 'utf8')],
    ['muster_wire.py', await readFile(wire, 'utf8')],
  ]
  await writeFile(join(data, 'plugin.tgz'), await packEntries(files.map(([path, text]) => [`package/${path}`, text])))
  const demand = isolation === undefined ? {} : { isolation }
  const entry = { package: name, version: manifest.version, source: { tarball: 'plugin.tgz' }, ...demand }
  await writeFile(join(data, 'plugins.json'), JSON.stringify({ plugins: { fix: entry } }))
  expect((await lockHere(join(data, 'plugins.json'), { stores: [join(data, 'plugins')] })).problems).toEqual([])
  const configured = await configureFixture({
    ...{ data, folder: '', entry, ground, host: `isolation: { users: ${JSON.stringify(users)} }` },
    providers: { p: { knobs: { target: await serve() } } },
  })
  room = startPlugins({ ...configured, ...quietHost })
  const provider = room.provider('p')
  await waitFor('the first start', async () => provider.status().state !== 'starting', { timeoutMs: 60_000 })
  expect(provider.status()).toMatchObject({ state: 'ready' })
  const { handle } = await provider.launch(launchSpec, { idempotencyKey: 'x' })
  return { level: configured.discovery.plugins[0]?.isolation.level, said: handle.data as Reached }
}

/** How many processes are in a network. */
async function inNetwork(network: string): Promise<number> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const all = await Promise.all(pids.map((pid) => readlink(`/proc/${pid}/ns/net`).catch(() => '')))
  return all.filter((one) => one === network).length
}

const all = { tcp: 'done', outside: 'done', abstract: 'done', file: 'done', listen: 'EADDRINUSE', child: 0 }
const own = (said: Reached): boolean => said.uid >= users.from && said.uid <= users.to

test('it reaches nobody, nor do its children, and its network goes with it', async () => {
  const ground = await openGround({ data, users })
  expect(ground).not.toHaveProperty('lacksNetwork')
  const { level, said } = await reached({ ground })
  expect(level).toBe('L3')
  expect(own(said)).toBe(true)
  expect(said).toMatchObject({
    ...{ tcp: 'ENETUNREACH', outside: 'ENETUNREACH', abstract: 'ECONNREFUSED', child: 1 },
    // Of a network in which nobody has that port, and to which nobody comes.
    listen: 'done',
    // The kernel lets it: they are files.
    file: 'done',
  })
  expect(await inNetwork(said.network)).toBe(1)
  await room?.stop()
  await waitFor('the end of its network', async () => (await inNetwork(said.network)) === 0)
})

test('one that asks for the network has that of the host, as a user of its own', async () => {
  const { level, said } = await reached({ net: ['*'], ground: await openGround({ data, users }) })
  expect(level).toBe('L3')
  expect(own(said)).toBe(true)
  expect(said).toMatchObject({ ...all, network: await readlink('/proc/self/ns/net') })
})

/** As a host finds it that may not make namespaces, as root in a container. */
async function groundWithout(): Promise<Ground> {
  const script = `
    import { openGround } from ${JSON.stringify(join(import.meta.dirname, 'ground.ts'))}
    console.log(JSON.stringify(await openGround(JSON.parse(process.argv[1]))))`
  const told = await mustRun([
    'setpriv',
    ...['--bounding-set=-sys_admin', '--inh-caps=-sys_admin'],
    ...[process.execPath, '--conditions=@muster/source', '--input-type=module', '-e', script],
    JSON.stringify({ data, users }),
  ])
  return JSON.parse(told) as Ground
}

test('where no namespace may be made, its level says so, and a demand of more is refused', async () => {
  const ground = await groundWithout()
  expect(ground).toMatchObject({ lacksNetwork: { fact: expect.stringContaining('Operation not permitted') } })
  await expect(reached({ ground, isolation: 'L3' })).rejects.toThrow(
    /must have isolation L3, and has L2 here: it asks for no network, and .*Operation not permitted/,
  )
  for (const server of servers.splice(0)) server.close()
  const { level, said } = await reached({ ground, isolation: 'L2' })
  expect(level).toBe('L2')
  expect(own(said)).toBe(true)
  expect(said).toMatchObject({ ...all, network: await readlink('/proc/self/ns/net') })
})
