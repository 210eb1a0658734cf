/** What a killed client leaves beside its target. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { packFolder, packTree, saveAs } from './files.ts'

/** A client that has begun to save as `target`, and waits for the rest for ever. */
async function begun(target: string): Promise<ChildProcess> {
  const before = unpacking(target)
  const source = `
    const { saveAs } = await import(${JSON.stringify(new URL('./files.ts', import.meta.url).href)})
    async function* silent() { setInterval(() => undefined, 60_000); await new Promise(() => undefined) }
    await saveAs(${JSON.stringify(target)}, silent())`
  const child = spawn(process.execPath, ['--conditions=@muster/source', '--input-type=module', '-e', source], { stdio: 'ignore' })
  await waitFor('its draft', () => unpacking(target) > before)
  return child
}

function unpacking(target: string): number {
  return drafts(target).filter((one) => readdirSync(one).includes('new')).length
}

function drafts(target: string): string[] {
  const folder = join(target, '..')
  return readdirSync(folder).flatMap((name) => (name.startsWith('.to-') ? [join(folder, name)] : []))
}

async function kill(child: ChildProcess): Promise<void> {
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}

test('what a killed client left is taken away by the next one there; that of one that lives, and what only looks so, is not', async () => {
  await using folder = await tempFolder('client')
  const target = join(folder.path, 'to')
  const from = join(folder.path, 'from')
  writeFileSync(from, 'all of it')
  const [first, second] = [await begun(target), await begun(target)]
  mkdirSync(join(folder.path, '.to-others'))
  writeFileSync(join(folder.path, '.to-others/owner'), '{"pid":1}')
  const before = drafts(target).length
  await saveAs(target, packTree(from, 'from'))
  expect([before, drafts(target).length]).toEqual([3, 3])
  await kill(first)
  await saveAs(target, packTree(from, 'from'))
  expect(drafts(target).length).toBe(2)
  await kill(second)
  await saveAs(target, packTree(from, 'from'))
  expect(drafts(target)).toEqual([join(folder.path, '.to-others')])
  expect(readFileSync(target, 'utf8')).toBe('all of it')
})

test('what a client that was killed between its two moves had moved away is given back', async () => {
  await using folder = await tempFolder('client')
  const target = join(folder.path, 'to')
  const child = await begun(target)
  const [draft = ''] = drafts(target)
  await kill(child)
  writeFileSync(target, 'from before')
  writeFileSync(join(draft, 'place'), target)
  renameSync(target, join(draft, 'old'))
  const two = join(folder.path, 'two')
  mkdirSync(two)
  for (const name of ['a', 'b']) writeFileSync(join(two, name), '')
  await expect(saveAs(target, packFolder(two))).rejects.toMatchObject({ code: 'protocol' })
  expect(readFileSync(target, 'utf8')).toBe('from before')
  expect(drafts(target)).toEqual([])
})
