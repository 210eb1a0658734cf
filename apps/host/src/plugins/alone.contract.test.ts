/** The lock of the plugin files between processes: how it ends with one, and who cannot have it. */
import { chmod, chown, mkdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { requireSystem, root } from '@muster/test/require'
import { runProcess, type RunningProcess, startProcess } from '@muster/test/systems/process'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { ordinaryUser } from '@muster/test/systems/unprivileged'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { alone, aloneFileOf } from './alone.ts'

let folder: TempFolder
let file: string
beforeEach(async () => {
  folder = await tempFolder('alone')
  file = join(folder.path, 'plugins.json')
})
afterEach(() => folder.remove())

/** Another process that is alone with the files, as `muster plugins add`. */
async function another(): Promise<RunningProcess> {
  const program = join(import.meta.dirname, 'alone.test.child.ts')
  const child = await startProcess([process.execPath, '--conditions=@muster/source', program, 'plugins', 'add', file])
  await waitFor('it to be alone', () => child.stdout() === 'alone\n')
  return child
}

const refusedBy = (pid: number): object => ({
  code: 'conflict',
  message: expect.stringContaining(`another command (muster plugins add, process ${pid} on `) as string,
})

test('of two processes one is alone, whoever asks; what was killed holds nothing, and leaves nothing that is in the way', async () => {
  await using one = await another()
  await expect(alone(file)).rejects.toMatchObject(refusedBy(one.pid))
  // A refusal opens and closes the file: the lock outlasts it.
  await expect(alone(file)).rejects.toMatchObject(refusedBy(one.pid))
  one.kill('SIGKILL')
  await one.exited
  await using two = await another()
  await expect(alone(file)).rejects.toMatchObject(refusedBy(two.pid))
  two.kill('SIGKILL')
  await two.exited
  {
    await using _held = await alone(file)
    const program = join(import.meta.dirname, 'alone.test.child.ts')
    const third = await runProcess([process.execPath, '--conditions=@muster/source', program, file])
    expect(third.code).toBe(1)
    expect(third.stderr).toContain(`process ${process.pid} on `)
    // Nor does what was refused in here.
    await expect(alone(file)).rejects.toMatchObject({ code: 'conflict' })
    const fourth = await runProcess([process.execPath, '--conditions=@muster/source', program, file])
    expect([fourth.code, fourth.stderr]).toEqual([1, expect.stringContaining('conflict')])
  }
  await using three = await another()
  expect(three.running()).toBe(true)
})

test('who may not write the folder cannot hold it, nor keep others from it', async (context) => {
  await requireSystem(context, root)
  await using stranger = await ordinaryUser()
  await chmod(folder.path, 0o755)
  await writeFile(file, '{}')
  const lock = aloneFileOf(file)
  const take = `const db = new (require('node:sqlite').DatabaseSync)(${JSON.stringify(lock)}); db.exec('begin exclusive')`
  const tried = async (): Promise<number | null> =>
    (await runProcess(stranger.command(process.execPath, '-e', take), { env: stranger.env, cwd: stranger.home })).code
  // Neither before it is there nor after.
  expect(await tried()).toBe(1)
  await (await alone(file))[Symbol.asyncDispose]()
  expect(await tried()).toBe(1)
  // It could, if it might.
  await chmod(lock, 0o666)
  await chmod(folder.path, 0o777)
  expect(await tried()).toBe(0)
})

test('what root has locked in the folder of a user, that user can lock after it', async (context) => {
  await requireSystem(context, root)
  await using user = await ordinaryUser()
  const own = join(user.home, 'own')
  await mkdir(own)
  await chown(own, user.uid, user.gid)
  const lock = aloneFileOf(join(own, 'plugins.json'))
  await (await alone(join(own, 'plugins.json')))[Symbol.asyncDispose]()
  expect(await stat(lock)).toMatchObject({ uid: user.uid, gid: user.gid })
  const take = `const db = new (require('node:sqlite').DatabaseSync)(${JSON.stringify(lock)}); db.exec('begin exclusive')`
  const taken = await runProcess(user.command(process.execPath, '-e', take), { env: user.env, cwd: user.home })
  // Its words may be about coverage, which that user cannot write.
  expect(taken).toMatchObject({ code: 0 })
})
