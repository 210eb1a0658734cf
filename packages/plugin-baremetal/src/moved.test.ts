import { mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { keepHome, machinePlace, placeDigest } from './moved.ts'
import { bootId, selfIdentity } from './proc.ts'

const id = `w${'1'.repeat(26)}`

/** A worker of this owner, as far as a place is told by it; `supervisor`: of a process that lives. */
async function worker(root: string, owner: string, supervisor?: string): Promise<void> {
  const folder = join(root, 'workers', id)
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'worker.json'), JSON.stringify({ v: 1, id, tags: { 'muster-owner': owner } }))
  if (supervisor !== undefined) await symlink(supervisor, join(folder, 'supervisor'))
}

async function openMachine(): Promise<{ path: string; find(data: string, owner?: string): Promise<string> } & AsyncDisposable> {
  const temp = await tempFolder('moved')
  const machine = join(temp.path, 'machine')
  await mkdir(machine)
  return {
    path: machine,
    find: (data, owner = 'ours') => machinePlace({ machine, provider: 'local', owner, data }),
    [Symbol.asyncDispose]: temp.remove,
  }
}

const nameOf = (data: string): string => `local-${placeDigest('local', data)}`

test('under root a place follows its owner when the data folder is moved, also one of before this was noted', async () => {
  await using machine = await openMachine()
  const [before, after] = ['before', 'after'].map((name) => join(machine.path, '..', name)) as [string, string]
  expect(await machine.find(before)).toBe(nameOf(before))
  const place = join(machine.path, nameOf(before))
  await worker(place, 'ours')
  await writeFile(join(place, 'home'), before)
  expect(await machine.find(after)).toBe(nameOf(before))
  await writeFile(join(place, 'owner'), 'ours')
  expect(await machine.find(after)).toBe(nameOf(before))
  // Whoever has another owner, or another name, has another place.
  expect(await machine.find(after, 'theirs')).toBe(nameOf(after))
  await writeFile(join(place, 'owner'), 'theirs')
  expect(await machine.find(after)).toBe(nameOf(after))
})

test('where it was moved to it is found at each start, and a new deployment at the old path has a place of its own', async () => {
  await using machine = await openMachine()
  const [before, after] = ['before', 'after'].map((name) => join(machine.path, '..', name)) as [string, string]
  /** As a start leaves it. */
  const start = async (data: string, owner: string): Promise<string> => {
    await mkdir(data, { recursive: true })
    const name = await machine.find(data, owner)
    const place = join(machine.path, name)
    await mkdir(join(place, 'workers'), { recursive: true })
    await writeFile(join(place, 'home'), data)
    await writeFile(join(place, 'owner'), owner)
    return name
  }
  const ours = await start(before, 'ours')
  await worker(join(machine.path, ours), 'ours')
  await rename(before, after)
  expect([await start(after, 'ours'), await start(after, 'ours')]).toEqual([ours, ours])
  const theirs = await start(before, 'theirs')
  expect(theirs).not.toBe(ours)
  expect(theirs).toMatch(/^local-[0-9a-f]{12}$/)
  await worker(join(machine.path, theirs), 'theirs')
  expect([await start(after, 'ours'), await start(before, 'theirs')]).toEqual([ours, theirs])
  // A link from the old path leads to the same.
  const linked = join(machine.path, '..', 'linked')
  await rename(after, linked)
  await symlink(linked, after)
  expect([await start(linked, 'ours'), await start(linked, 'ours')]).toEqual([ours, ours])
  // Moved in its turn, it takes its own along.
  const third = join(machine.path, '..', 'third')
  await rename(before, third)
  expect(await start(third, 'theirs')).toBe(theirs)
  // A third one is neither, whoever is started first.
  const another = await start(before, 'third')
  expect([ours, theirs]).not.toContain(another)
  await worker(join(machine.path, another), 'third')
  await rename(before, join(machine.path, '..', 'fourth'))
  expect([ours, theirs, another]).not.toContain(await start(before, 'fourth'))
  expect(await start(join(machine.path, '..', 'fourth'), 'third')).toBe(another)
})

test('a place whose workers have all ended is taken over by whoever comes to its path', async () => {
  await using machine = await openMachine()
  const data = join(machine.path, '..', 'data')
  const place = join(machine.path, nameOf(data))
  await mkdir(join(place, 'workers'), { recursive: true })
  await writeFile(join(place, 'owner'), 'theirs')
  expect(await machine.find(data)).toBe(nameOf(data))
})

test('a data folder that is still there keeps its place: a copy of it is refused while it has workers', async () => {
  await using machine = await openMachine()
  const [before, copy] = ['before', 'copy'].map((name) => join(machine.path, '..', name)) as [string, string]
  await mkdir(before)
  const place = join(machine.path, nameOf(before))
  await mkdir(join(place, 'workers'), { recursive: true })
  await writeFile(join(place, 'home'), before)
  await writeFile(join(place, 'owner'), 'ours')
  expect(await machine.find(copy)).toBe(nameOf(copy))
  await worker(place, 'ours')
  await expect(machine.find(copy)).rejects.toMatchObject({
    code: 'auth',
    message: `${copy} has the owner of ${before}, whose workers are in ${place}`,
    hint: expect.stringContaining('--new-owner') as string,
  })
  expect(await machine.find(before)).toBe(nameOf(before))
})

test('without root a data folder that was moved under workers that live is refused, until a link leads there', async () => {
  await using temp = await tempFolder('moved')
  const boot = await bootId()
  const self = await selfIdentity(boot)
  const [before, after] = ['before', 'after'].map((name) => join(temp.path, name)) as [string, string]
  await mkdir(before)
  const by = { owner: 'ours', boot }
  await keepHome(before, by)
  await rename(before, after)
  // Nothing goes by the old path.
  await keepHome(after, by)
  expect(await readFile(join(after, 'home'), 'utf8')).toBe(after)
  await rename(after, before)
  await worker(before, 'ours', `${self.pid}.${self.start}.${self.boot}`)
  await expect(keepHome(before, by)).rejects.toMatchObject({
    code: 'auth',
    message: `the data folder was moved: its workers run in ${after}, and it is ${before} now`,
    hint: `Move it back, or put a link there until they have ended: ln -s ${before} ${after}`,
  })
  await symlink(before, after)
  await keepHome(before, by)
  expect(await readFile(join(before, 'home'), 'utf8')).toBe(after)
  // A copy with an owner of its own has none of them.
  await rm(after)
  await keepHome(before, { ...by, owner: 'theirs' })
  expect(await readFile(join(before, 'home'), 'utf8')).toBe(before)
})
