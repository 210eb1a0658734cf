/** The content store, shared by processes that may die in the middle. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
// paced: the kill has to meet the unpacking at different moments.
import { setTimeout as sleep } from 'node:timers/promises'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { filesOf } from './archive.ts'
import { treeOf } from '@muster/packed/digest'
import { treeOfFolder } from './content.ts'
import { type Entry, packPlugin } from './testing/pack.ts'

/** Enough to be killed in the middle of. */
const many = (): Promise<Buffer> =>
  packPlugin({ more: Array.from({ length: 400 }, (_, n): Entry => [`package/files/${n}`, 'x'.repeat(1000)]) })

test('two processes at once, one of them killed at any moment: a whole folder or none', async () => {
  await using temp = await tempFolder('content')
  const tarball = await many()
  const tree = treeOf(await filesOf(tarball))
  const file = join(temp.path, 'a.tgz')
  await writeFile(file, tarball)
  const script = `
    import { readFileSync } from 'node:fs'
    import { addContent } from ${JSON.stringify(join(import.meta.dirname, 'content.ts'))}
    process.stdout.write('begun\\n')
    await addContent(readFileSync(${JSON.stringify(file)}), process.argv[1])`
  const unpack = async (store: string): Promise<ReturnType<typeof spawn>> => {
    const child = spawn(process.execPath, ['--conditions=@muster/source', '--input-type=module', '-e', script, store], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(child.stdout as NodeJS.ReadableStream, 'data')
    return child
  }
  for (const afterMs of [0, 5, 15, 40]) {
    const store = join(temp.path, `store-${afterMs}`)
    const [killed, other] = await Promise.all([unpack(store), unpack(store)])
    const ends = [killed, other].map((child) => (child.exitCode === null ? once(child, 'exit') : Promise.resolve([])))
    // paced: the moment of the kill is what is tried.
    await sleep(afterMs)
    killed.kill('SIGKILL')
    await Promise.all(ends)
    expect(other.exitCode).toBe(0)
    const whole = (await readdir(store)).filter((name) => !name.startsWith('.'))
    expect(whole).toHaveLength(1)
    expect(await treeOfFolder(join(store, whole[0] ?? ''))).toBe(tree)
  }
})
