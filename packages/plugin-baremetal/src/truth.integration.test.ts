/** What is told when a pid was used again, the machine was restarted, or its disk is full. */
import { execFile } from 'node:child_process'
import { chmod, mkdir, readdir, readFile, readlink, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { WorkerProvider } from '@muster/core'
import { requireSystem } from '@muster/test/require'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { WorkerState } from './folder.ts'
import {
  callOf,
  execOf,
  exited,
  gone,
  hold,
  must,
  openRig,
  ownerTags,
  readExec,
  readLogs,
  type Rig,
  runToEnd,
  seen,
  specOf,
} from './rig.test.helper.ts'
import { script } from './script.ts'
import { plainPath } from './tools.ts'

const run = promisify(execFile)

let rig: Rig
let provider: WorkerProvider

beforeEach(async () => {
  rig = await openRig()
  provider = rig.provider
})

afterEach(async () => {
  await rig.close()
})

const folderOf = (id: string): string => join(rig.root, 'workers', id)

async function supervisorOf(id: string): Promise<{ pid: number; start: string; boot: string; text: string }> {
  const text = await readlink(join(folderOf(id), 'supervisor'))
  const [pid, start = '', boot = ''] = text.split('.')
  return { pid: Number(pid), start, boot, text }
}

async function replaceLink(path: string, text: string): Promise<void> {
  await symlink(text, `${path}.new`)
  await rename(`${path}.new`, path)
}

describe('a pid that was used again', () => {
  test('is not the supervisor: the worker is lost, and the stranger lives on', async () => {
    const spec = specOf(hold)
    await provider.launch(spec, callOf())
    const real = await supervisorOf(spec.id)
    const stranger = must(execFile('sleep', ['1000']).pid)
    try {
      // As after the supervisor's end and a turn of the kernel's counter: its pid, another start.
      await replaceLink(join(folderOf(spec.id), 'supervisor'), `${stranger}.${real.start}.${real.boot}`)
      expect(await seen(provider, spec.id)).toMatchObject({ phase: 'lost' })
      process.kill(real.pid, 'SIGKILL')
      await gone(provider, spec.id)
      expect(process.kill(stranger, 0)).toBe(true)
    } finally {
      process.kill(stranger, 'SIGKILL')
    }
  })

  test('is not a stop under way: the next terminate goes on', async () => {
    const spec = specOf(hold)
    await provider.launch(spec, callOf())
    const { boot } = await supervisorOf(spec.id)
    await symlink(`${process.pid}.1.${boot}`, join(folderOf(spec.id), 'stopping'))
    expect(await seen(provider, spec.id)).toMatchObject({ phase: 'stopping' })
    await provider.terminate({ id: spec.id }, { graceMs: 10_000, force: false, reason: 'test' }, callOf())
    await waitFor('its end', async () => (await seen(provider, spec.id)) === undefined)
  })
})

describe('after a restart of the machine', () => {
  /** As if all that is there had been made before the restart. */
  async function restart(id: string): Promise<void> {
    const path = join(folderOf(id), 'worker.json')
    const state = JSON.parse(await readFile(path, 'utf8')) as WorkerState
    await writeFile(path, JSON.stringify({ ...state, boot: 'the-boot-before' }))
    const supervisor = await supervisorOf(id).catch(() => undefined)
    if (supervisor !== undefined)
      await replaceLink(join(folderOf(id), 'supervisor'), `${supervisor.pid}.${supervisor.start}.the-boot-before`)
  }

  test('a worker is lost, also when its pid is alive again', async () => {
    const spec = specOf(hold)
    await provider.launch(spec, callOf())
    const { pid } = await supervisorOf(spec.id)
    await restart(spec.id)
    expect(await seen(provider, spec.id)).toMatchObject({ phase: 'lost', exit: { reason: 'unknown: the machine was restarted' } })
    await provider.launch(spec, callOf())
    expect(await seen(provider, spec.id)).toMatchObject({ phase: 'lost' })
    await gone(provider, spec.id)
    expect(process.kill(pid, 0)).toBe(true)
    process.kill(pid, 'SIGKILL')
  })

  test('an exit that was written is told, and its files are there', async () => {
    const spec = specOf('echo kept > file; exit 3')
    await runToEnd(provider, spec)
    await restart(spec.id)
    expect(await seen(provider, spec.id)).toMatchObject({ phase: 'exited', exit: { code: 3 } })
    const parts: Uint8Array[] = []
    for await (const part of must(provider.copyOut)({ id: spec.id }, 'file', callOf())) parts.push(part)
    expect(Buffer.concat(parts).includes('kept')).toBe(true)
  })

  test('one that was only half made is made anew', async () => {
    const spec = specOf(hold)
    await provider.launch(spec, callOf())
    const { pid } = await supervisorOf(spec.id)
    process.kill(pid, 'SIGKILL')
    await rm(join(folderOf(spec.id), 'supervisor'))
    await rm(join(folderOf(spec.id), 'hold'))
    await restart(spec.id)
    expect(await seen(provider, spec.id)).toMatchObject({ phase: 'provisioning' })
    await provider.launch(spec, callOf())
    expect(await seen(provider, spec.id)).toMatchObject({ phase: 'running' })
  })
})

describe('output without end', () => {
  const keeps = 65_536
  const why = `the end of stdout is missing, a worker may write ${keeps} bytes of each here (logBytes)`

  test.each(['dash', 'bash'])(
    'takes no more of the disk than it may, the exit says so, and files are of any size (%s)',
    async (shell) => {
      const small = await openRig({ logBytes: keeps }, { shell: `/bin/${shell}` })
      try {
        const script = 'echo first >&2; yes; echo last >&2; yes | head -c 200000 >large && wc -c <large >&2; exit 3'
        const { exit, stdout, stderr } = await runToEnd(small.provider, specOf(script))
        expect(exit).toMatchObject({ code: 3, reason: `exited with 3; ${why}` })
        expect([stdout.length, stderr]).toEqual([keeps, 'first\nlast\n200000\n'])
      } finally {
        await small.close()
      }
    },
  )

  test('ends what does nothing but write, and it is said why', async () => {
    const small = await openRig({ logBytes: keeps })
    try {
      const { exit } = await runToEnd(small.provider, specOf('exec yes'))
      expect(exit).toMatchObject({ signal: 'SIGPIPE', reason: `ended by SIGPIPE; ${why}` })
    } finally {
      await small.close()
    }
  })

  test('of a command in a held worker is bounded too', async () => {
    const small = await openRig({ logBytes: keeps })
    try {
      const spec = specOf(hold)
      await small.provider.launch(spec, callOf())
      const { exit, stdout } = await readExec(await must(small.provider.exec)({ id: spec.id }, execOf('yes; exit 3'), callOf()))
      expect(exit.reason).toBe(`exited with 3; the end of stdout is missing, the worker keeps ${keeps} bytes of it`)
      expect(stdout.length).toBe(keeps)
    } finally {
      await small.close()
    }
  })
})

test('a worker that would take of what is kept free is capacity, until there is room again', async () => {
  let free = 2 ** 20
  const small = await openRig({ reserveBytes: 2 ** 30 }, { room: async () => ({ free, total: 2 ** 40 }) })
  try {
    const spec = specOf(hold)
    await expect(small.provider.launch(spec, callOf())).rejects.toMatchObject({
      code: 'capacity',
      effect: 'none',
      message: expect.stringMatching(/1 MiB are free on the disk of .*, and 1024 MiB stay free/),
    })
    expect((await small.provider.list({ tags: ownerTags, limit: 10 }, callOf())).workers).toEqual([])
    free = 2 ** 31
    await small.provider.launch(spec, callOf())
    // One that is there is not given up for it.
    free = 0
    expect(await small.provider.launch(spec, callOf())).toMatchObject({ handle: { v: 1 } })
  } finally {
    await small.close()
  }
})

describe('on a full disk', () => {
  let mount: string

  beforeEach(async (context) => {
    mount = join(rig.dir, 'disk')
    await mkdir(mount)
    const words = ['-t', 'tmpfs', '-o', 'size=4m,mode=0711', 'muster-test', mount]
    const absent = await run('mount', words).then(
      () => undefined,
      (error: unknown) => `no tmpfs can be mounted: ${(error as Error).message.split('\n')[0]}`,
    )
    await requireSystem(context, { name: 'mount', probe: () => absent })
  })

  afterEach(async ({ task }) => {
    if (task.result?.state !== 'skip') await run('umount', [mount])
  })

  // Its own PATH: where nobody but root can reach the host's node, a copy of that would fill the disk before any worker does.
  test('a launch is capacity and leaves no half worker', async () => {
    const small = await openRig({ root: join(mount, 'root'), path: plainPath })
    await chmod(mount, 0o711)
    await small.provider.probe(callOf())
    await writeFile(join(mount, 'filler'), Buffer.alloc(8 * 2 ** 20)).catch(() => undefined)
    const spec = specOf(hold, { files: [{ path: 'big', base64: Buffer.alloc(100_000).toString('base64') }] })
    await expect(small.provider.launch(spec, callOf())).rejects.toMatchObject({ code: 'capacity' })
    expect((await small.provider.list({ tags: ownerTags, limit: 10 }, callOf())).workers).toEqual([])
    expect(await readdir(join(mount, 'root/making'))).toEqual([])
    await rm(join(mount, 'filler'))
    await small.provider.launch(spec, callOf())
    await gone(small.provider, spec.id)
    await small.close()
  })

  test('output that finds no room is said to be missing', async () => {
    const small = await openRig({ root: join(mount, 'root'), path: plainPath })
    try {
      const spec = specOf('head -c 8000000 /dev/zero; echo $? >&2; exit 0')
      await small.provider.launch(spec, callOf())
      const exit = await exited(small.provider, spec.id)
      expect(exit.reason).toMatch(/the end of stdout.* is missing/)
      const { stdout } = await readLogs(must(small.provider.logs)({ id: spec.id }, { follow: true }, callOf()))
      expect(stdout.length).toBeGreaterThan(1_000_000)
      await waitFor(
        'its end',
        async () =>
          (await small.provider.terminate({ id: spec.id }, { graceMs: 0, force: false, reason: 'test' }, callOf())).state ===
          'gone',
      )
    } finally {
      await small.close()
    }
  })
})

test('a worker whose folder takes no link says why', async () => {
  const worker = join(rig.dir, 'w')
  const file = join(rig.dir, 'script')
  await mkdir(worker)
  await writeFile(join(worker, 'conf'), '')
  await writeFile(file, script)
  // A file is in its place; no room on the disk is told in the same way, in the word of the system.
  await writeFile(join(worker, 'supervisor'), '')
  const { stdout } = await run('/bin/sh', [file, 'run', worker])
  expect(stdout).toBe(`failed: cannot write in ${worker}: File exists\n`)
  await Promise.all([worker, file].map((path) => rm(path, { recursive: true })))
})
