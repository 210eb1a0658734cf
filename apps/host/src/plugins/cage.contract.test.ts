/** Cages of the kernel: what they hold, and what goes with them. */
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, readlink, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { requireSystem, root } from '@muster/test/require'
import { beforeEach, expect, test } from 'vitest'
import type * as cage from './cage.ts'
import { cagesAreHere, openCage, placesOf } from './cage.ts'

const here = async (): Promise<ReturnType<typeof placesOf>> =>
  placesOf(await readFile('/proc/self/mountinfo', 'utf8'), await readFile('/proc/self/cgroup', 'utf8'))

/** Seen without the room that is tested. */
beforeEach(async (context) => {
  await requireSystem(context, root)
  const [place] = (await here()).filter(({ version }) => version === 1)
  const none = place === undefined ? 'there are none' : undefined
  await requireSystem(context, { name: 'control groups of version 1', probe: () => none })
  const made = join(place?.folder ?? '', `muster-probe-${process.pid}`)
  const problem = await mkdir(made).then(
    () => rmdir(made),
    () => 'none may be made here',
  )
  await requireSystem(context, { name: 'cgroup', probe: () => problem ?? undefined })
})

/** As a host finds it that has just begun. */
const begun = async (): Promise<Pick<typeof cage, 'cagesAreHere'>> =>
  import(`${pathToFileURL(join(import.meta.dirname, 'cage.ts')).href}?${randomUUID()}`) as Promise<typeof cage>

test('what a host that was killed has left goes, and what a live one has stays', async () => {
  const gone = spawn('/bin/true')
  await once(gone, 'exit')
  const space = /\d+/.exec(await readlink('/proc/self/ns/pid'))?.[0]
  const folder = (await here()).find(({ version }) => version === 1)?.folder ?? ''
  const left = `muster-plugin-${space}-${gone.pid}-1`
  const others = [
    `muster-plugin-${space}-${process.pid}-9999`,
    `muster-plugin-1${space}-${gone.pid}-1`,
    `muster-plugin-x-${gone.pid}`,
    `muster-plugin-${space}-x-${gone.pid}`,
  ]
  const ours = async (): Promise<string[]> =>
    (await readdir(folder)).filter((name) => name.includes(`-${process.pid}-`) || name.includes(`-${gone.pid}`)).sort()
  const before = await ours()
  for (const name of [left, ...others]) await mkdir(join(folder, name))
  try {
    expect(await (await begun()).cagesAreHere()).toBe(true)
    // Nor does what was tried out stay.
    expect(await ours()).toEqual([...before, ...others].sort())
  } finally {
    for (const name of [left, ...others]) await rmdir(join(folder, name)).catch(() => undefined)
  }
})

test('a cage holds what it is told, and ends all that is in it', async () => {
  expect(await cagesAreHere()).toBe(true)
  const cage = await openCage({ memoryMb: 64, pids: 20 })
  const [program = '', ...args] = cage?.inside(['/bin/sh', '-c', 'sleep 600 & sleep 600 & echo up; wait']) ?? []
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  await once(child.stdout, 'data')
  const name = /muster-plugin-[\d-]+/.exec(await readFile(`/proc/${child.pid}/cgroup`, 'utf8'))?.[0] ?? ''
  const folders = (await here()).filter(({ version }) => version === 1).map(({ folder }) => join(folder, name))
  const limits: Record<string, string> = {}
  for (const folder of folders) {
    expect((await readFile(join(folder, 'cgroup.procs'), 'utf8')).trim().split('\n')).toHaveLength(3)
    for (const file of ['pids.max', 'memory.limit_in_bytes'])
      if (existsSync(join(folder, file))) limits[file] = (await readFile(join(folder, file), 'utf8')).trim()
  }
  expect(limits).toEqual({ 'pids.max': '20', 'memory.limit_in_bytes': String(64 * 2 ** 20) })
  expect(await cage?.drop()).toBe(false)
  expect(await ended).toEqual([null, 'SIGKILL'])
  expect(folders.filter(existsSync)).toEqual([])
})

test('a cage says when the kernel had to end something in it for its memory', async () => {
  const cage = await openCage({ memoryMb: 16, pids: 20 })
  const [program = '', ...args] = cage?.inside(['/bin/sh', '-c', 'head -c 100000000 /dev/zero | tail']) ?? []
  await once(spawn(program, args, { stdio: 'ignore' }), 'exit')
  expect(await cage?.drop()).toBe(true)
})
