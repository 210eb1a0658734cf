/** What a worker with a user of its own cannot do. */
import { once } from 'node:events'
import { chmod, mkdir, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import type { LaunchSpec, WorkerProvider } from '@muster/core'
import { requireSystem, root } from '@muster/test/require'
import { findIpv6 } from '@muster/test/systems/ipv6'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { callOf, execOf, gone, hold, must, newId, openRig, readExec, type Rig, runToEnd, specOf } from './rig.test.helper.ts'

let rig: Rig
let provider: WorkerProvider

beforeEach(async (context) => {
  await requireSystem(context, root)
  rig = await openRig()
  provider = rig.provider
})

afterEach(async ({ task }) => {
  if (task.result?.state !== 'skip') await rig?.close()
})

/** Ids for a ledger of a test's own: no other process of this machine has them. */
const ownUids = 1_000_000_000 + process.pid * 10

/** What a script prints in a new worker. */
async function said(script: string, rest: Partial<LaunchSpec> = {}): Promise<string> {
  const { stdout, stderr } = await runToEnd(provider, specOf(script, rest))
  return stdout + stderr
}

describe('a worker under root', () => {
  test('is a user of its own, with no groups, no capabilities and no way to new privileges', async () => {
    const text = await said('id -u; id -G; grep -E "^(NoNewPrivs|CapEff|CapPrm|CapInh):" /proc/self/status')
    const [uid, groups, ...status] = text.trim().split('\n')
    expect(Number(uid)).toBeGreaterThan(1000)
    expect(groups).toBe(uid)
    const values = Object.fromEntries(status.map((line) => line.split(/:\s+/)))
    expect(values).toEqual({ NoNewPrivs: '1', CapEff: '0'.repeat(16), CapPrm: '0'.repeat(16), CapInh: '0'.repeat(16) })
  })

  test('cannot read the folder of the host, nor that of another worker', async () => {
    const secret = join(rig.dir, 'data', 'store')
    await writeFile(secret, 'secret', { mode: 0o644 })
    const other = specOf(hold, { files: [{ path: 'mine', base64: btoa('mine'), mode: 0o644 }] })
    await provider.launch(other, callOf())
    const theirs = join(rig.root, 'workers', other.id, 'workspace', 'mine')
    const text = await said(`cat ${secret} ${theirs}; ls ${join(rig.root, 'workers')}; ls ${join(rig.root, 'workers', other.id)}`)
    expect(text.match(/Permission denied/g)).toHaveLength(4)
    expect(text).not.toMatch(/secret|\bmine$/m)
  })

  test('cannot signal the host, its own supervisor or another worker', async () => {
    const other = specOf('echo $$; exec sleep 1000')
    await provider.launch(other, callOf())
    const text = await said(
      `kill -s KILL ${process.pid}; kill -s KILL $PPID; for p in /proc/[0-9]*; do kill -s 0 "\${p#/proc/}" 2>/dev/null && cat $p/cmdline; done`,
    )
    expect(text.match(/not permitted/gi)).toHaveLength(2)
    expect(text).not.toContain(other.id)
    expect((await provider.inspect([{ id: other.id }], callOf()))[0]).toMatchObject({ phase: 'running' })
  })

  test('owns its folders and cannot change what says how it ended', async () => {
    const spec = specOf(
      'for f in worker.json conf env command out err exit supervisor .; do echo forged 2>/dev/null > ../$f && echo "wrote $f"; done; rm -f ../exit ../worker.json; touch workspace; exit 2',
    )
    const { stdout, exit } = await runToEnd(provider, spec)
    expect({ stdout, exit }).toMatchObject({ stdout: '', exit: { code: 2 } })
    const folder = join(rig.root, 'workers', spec.id)
    expect((await stat(folder)).mode & 0o777).toBe(0o710)
    for (const name of ['workspace', 'tmp', 'runs']) expect((await stat(join(folder, name))).mode & 0o777).toBe(0o700)
  })

  test('gets no variable of the host', async () => {
    process.env['HOST_SECRET_OF_TEST'] = 'do-not-tell'
    try {
      const spec = specOf(hold)
      await provider.launch(spec, callOf())
      const session = await must(provider.exec)({ id: spec.id }, execOf('env; cat /proc/self/environ'), callOf())
      const text = (await said('env')) + (await readExec(session)).stdout
      expect(text).not.toContain('do-not-tell')
      expect(text).toContain(`MUSTER_WORKER=${spec.id}`)
    } finally {
      delete process.env['HOST_SECRET_OF_TEST']
    }
  })

  test('no value of env, files or command input is in any process list', async () => {
    const secret = newId()
    const spec = specOf(hold, { env: { TOKEN: secret }, files: [{ path: 'token', base64: btoa(secret) }] })
    await provider.launch(spec, callOf())
    const command = execOf('echo up; exec sleep 1000', { env: { OTHER: secret } })
    const session = await must(provider.exec)({ id: spec.id }, command, callOf())
    for await (const { data } of session.output) if (data.length > 0) break
    const lines = await Promise.all(
      (await readdir('/proc'))
        .filter((name) => /^\d+$/.test(name))
        .map((pid) => readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')),
    )
    expect(lines.filter((line) => line.includes(secret))).toEqual([])
  })

  test('leaves nothing in the shared folders of the machine', async () => {
    const name = newId()
    await said(`echo x > /tmp/${name}; mkdir /dev/shm/${name}; ls /tmp/${name}`)
    expect(await readFile(`/tmp/${name}`, 'utf8')).toBe('x\n')
    const [worker] = (await provider.list({ tags: { 'muster-owner': 'test', 'muster-provider': 'local' }, limit: 1 }, callOf()))
      .workers
    await gone(provider, must(worker).id)
    await expect(stat(`/tmp/${name}`)).rejects.toMatchObject({ code: 'ENOENT' })
    await expect(stat(`/dev/shm/${name}`)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('is reached at its own servers only, also where somebody else has its port on the other loopback', async (context) => {
    await requireSystem(context, { name: 'ipv6', probe: async () => (await findIpv6()).absent })
    const stranger = createServer((socket) => socket.end('stranger'))
    await once(stranger.listen(0, '127.0.0.1'), 'listening')
    try {
      const { port } = stranger.address() as AddressInfo
      const spec = specOf(hold, { network: { egress: 'full', ports: [port] } })
      await provider.launch(spec, callOf())
      const reached = async (): Promise<string> => {
        const parts = must(provider.forward)({ id: spec.id }, { port, input: Readable.from([]) }, callOf())
        return Buffer.concat(await Array.fromAsync(parts)).toString()
      }
      await expect(reached()).rejects.toMatchObject({ code: 'transient', effect: 'none' })
      const server = `require('node:net').createServer((s) => s.end('worker')).listen(${port}, '::1', () => console.log('up'))`
      const stop = new AbortController()
      const session = await must(provider.exec)(
        { id: spec.id },
        { ...execOf(''), command: ['node', '-e', server] },
        callOf({ signal: stop.signal }),
      )
      for await (const { data } of session.output) if (Buffer.from(data).includes('up')) break
      expect(await reached()).toBe('worker')
      stop.abort()
    } finally {
      stranger.close()
    }
  })

  test('has other users than workers beside it, and gives its own back', async () => {
    const specs = Array.from({ length: 5 }, () => specOf('id -u'))
    const uids = await Promise.all(specs.map(async (spec) => (await runToEnd(provider, spec)).stdout))
    expect(new Set(uids).size).toBe(5)
    const { slots } = await must(provider.headroom)(callOf())
    expect(slots?.total).toBe(584)
    expect(slots?.free).toBeLessThanOrEqual(579)
  })
})

test('the range of users is a limit: capacity, and nothing is left of the one that found no room', async () => {
  const small = await openRig({ users: { from: ownUids, to: ownUids + 1 } }, { ledger: join(rig.dir, 'ledger') })
  try {
    const [one, two, three] = [specOf(hold), specOf(hold), specOf(hold)]
    await small.provider.launch(one, callOf())
    await small.provider.launch(two, callOf())
    await expect(small.provider.launch(three, callOf())).rejects.toMatchObject({ code: 'capacity', effect: 'none' })
    await gone(small.provider, one.id)
    await small.provider.launch(three, callOf())
  } finally {
    await small.close()
  }
})

test('two deployments on one machine never share a user', async () => {
  const ledger = join(rig.dir, 'shared-ledger')
  const range = { users: { from: ownUids, to: ownUids + 3 } }
  const rigs = await Promise.all([openRig(range, { ledger }), openRig(range, { ledger })])
  try {
    const uids = await Promise.all(
      [0, 1, 0, 1].map(async (index) => (await runToEnd(must(rigs[index]).provider, specOf('id -u'))).stdout.trim()),
    )
    expect(uids.sort()).toEqual([0, 1, 2, 3].map((step) => String(ownUids + step)))
  } finally {
    await Promise.all(rigs.map((one) => one.close()))
  }
})

test('a place that the users of workers cannot reach is said, not guessed', async () => {
  const closedHere = join(rig.dir, 'closed')
  await mkdir(closedHere, { mode: 0o700 })
  const bad = await openRig({ root: join(closedHere, 'root') })
  try {
    expect(await bad.provider.probe(callOf())).toMatchObject({ state: 'failed', message: expect.stringContaining(closedHere) })
    await expect(bad.provider.launch(specOf(hold), callOf())).rejects.toMatchObject({ code: 'auth', effect: 'none' })
    await chmod(closedHere, 0o711)
    expect(await bad.provider.probe(callOf())).toMatchObject({ state: 'ready' })
  } finally {
    await rm(bad.dir, { recursive: true, force: true })
  }
})

test('whatever is made first on a new machine, and under whatever umask, leaves the way to later workers open', async () => {
  const machine = join(rig.dir, 'machine')
  const ledger = join(machine, 'users')
  const umask = process.umask(0o077)
  try {
    const first = await openRig({ users: { from: ownUids, to: ownUids } }, { ledger })
    await first.provider.probe(callOf())
    await first.close()
    const second = await openRig({ root: join(machine, 'some', 'place'), users: { from: ownUids, to: ownUids } }, { ledger })
    expect((await runToEnd(second.provider, specOf('id -u'))).stdout).toBe(`${ownUids}\n`)
    await second.close()
    expect((await stat(ledger)).mode & 0o777).toBe(0o700)
  } finally {
    process.umask(umask)
  }
})

test('a node in a closed folder is offered to workers, first in their PATH', async () => {
  const closed = join(rig.dir, 'closed')
  await mkdir(join(closed, 'bin'), { recursive: true, mode: 0o700 })
  await writeFile(join(closed, 'bin', 'node'), '#!/bin/sh\necho the node of the host\n', { mode: 0o755 })
  const other = await openRig({}, { env: { PATH: `${join(closed, 'bin')}:/usr/bin:/bin` } })
  try {
    const { stdout } = await runToEnd(other.provider, specOf('echo $PATH; node'))
    expect(stdout).toBe(`${join(other.root, 'tools')}:/usr/bin:/bin\nthe node of the host\n`)
  } finally {
    await other.close()
  }
})

describe('folders that workers may bind', () => {
  test('a link, as far as the kernel keeps what was asked for', async () => {
    const shared = join(tmpdir(), newId())
    await mkdir(join(shared, 'sub'), { recursive: true })
    await chmod(shared, 0o755)
    await writeFile(join(shared, 'sub', 'file'), 'shared')
    const lender = await openRig({ binds: [shared] })
    const mount = (target: string, path: string, readOnly: boolean): Partial<LaunchSpec> => ({
      mounts: [{ target, source: { kind: 'bind', path }, readOnly }],
    })
    const launch = (rest: Partial<LaunchSpec>): Promise<unknown> => lender.provider.launch(specOf(hold, rest), callOf())
    try {
      const { stdout } = await runToEnd(
        lender.provider,
        specOf('cat deep/cache/file; echo x > deep/cache/file', mount('deep/cache', join(shared, 'sub'), true)),
      )
      expect(stdout).toBe('shared')
      expect(await readFile(join(shared, 'sub', 'file'), 'utf8')).toBe('shared')
      await expect(launch(mount('cache', shared, false))).rejects.toMatchObject({
        code: 'unsupported',
        path: 'mounts.0.readOnly',
        effect: 'none',
      })
      await expect(launch(mount('cache', '/etc', true))).rejects.toMatchObject({
        code: 'unsupported',
        path: 'mounts.0.source.path',
      })
      await expect(launch(mount('/cache', shared, true))).rejects.toMatchObject({ code: 'unsupported', path: 'mounts.0.target' })
      await expect(launch(mount('cache', join(shared, 'absent'), true))).rejects.toMatchObject({ code: 'invalid-spec' })
      await chmod(join(shared, 'sub'), 0o777)
      await expect(launch(mount('cache', shared, true))).rejects.toMatchObject({ code: 'unsupported', path: 'mounts.0.readOnly' })
      const written = await runToEnd(lender.provider, specOf('echo mine > cache/new', mount('cache', join(shared, 'sub'), false)))
      expect(written.exit).toMatchObject({ code: 0 })
      expect(await readFile(join(shared, 'sub', 'new'), 'utf8')).toBe('mine\n')
    } finally {
      await lender.close()
      await rm(shared, { recursive: true, force: true })
    }
  })
})
