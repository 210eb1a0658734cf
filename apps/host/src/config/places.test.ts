import { writeFile } from 'node:fs/promises'
import { execFileSync } from 'node:child_process'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { examine } from '../examine.ts'
import { makeFolders } from './places.ts'

let folder: TempFolder
beforeEach(async () => {
  folder = await tempFolder('places')
})
afterEach(() => folder.remove())

const at = (name: string): string => join(folder.path, name)

/** Problems of a file with this `host`, as `muster check` prints them. */
async function problemsOf(host: string): Promise<string[]> {
  await writeFile(at('muster.yaml'), `host: ${host}\nproviders: {}\npools: {}\n`)
  await writeFile(at('plugins.json'), '{ "plugins": {} }')
  await writeFile(at('file'), '')
  const { problems } = await examine(at('muster.yaml'), () => [at('store')])
  return problems.map(({ reason, fix }) => `${reason} | ${fix}`)
}

test.each([
  ['{ data: ./file }', /file is no folder \| name another folder/],
  ['{ data: ./file/below/it }', /file is no folder/],
  [`{ socket: { path: /tmp/${'s'.repeat(120)} } }`, /103 bytes at the most, and this one has 125/],
  ['{ listen: "127.0.0.1:7420", metrics: { listen: "127.0.0.1:7420" } }', /the API listens there, and has \/metrics too/],
])('%s is told before a start', async (host, problem) => {
  expect(await problemsOf(host)).toEqual([expect.stringMatching(problem)])
})

test.each(['{ data: ./new/folder }', '{ listen: "127.0.0.1:0", metrics: { listen: "127.0.0.1:0" } }', '{ data: . }'])(
  '%s is right',
  async (host) => {
    expect(await problemsOf(host)).toEqual([])
  },
)

test('a pipe is no certificate, and nobody waits for what comes out of it', async () => {
  execFileSync('sh', ['-c', 'mkfifo "$1"', 'sh', at('pipe')])
  await writeFile(at('key'), '')
  expect(await problemsOf('{ tls: { cert: ./pipe, key: ./key } }')).toEqual([expect.stringMatching(/pipe is no file/)])
})

test('folders are made with those above them, for their owner alone; where none can be made, that is said at once', () => {
  makeFolders(at('one/two/three'), 0o700)
  makeFolders(at('one/two/three'), 0o700)
  for (const name of ['one', 'one/two', 'one/two/three']) expect(statSync(at(name)).mode & 0o777).toBe(0o700)
  // Node's own way to make folders never comes back from this one.
  expect(() => makeFolders('/proc/nothing/here', 0o700)).toThrow(/ENOENT/)
})
