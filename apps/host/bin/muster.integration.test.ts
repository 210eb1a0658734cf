/** The bin in a copy of its surroundings that needs a Node newer than any: so every Node is "an older one". */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'

const program = `
const [command, value] = process.argv.slice(2)
if (command === 'args') console.log(JSON.stringify(process.argv.slice(2)), process.execPath)
if (command === 'exit') process.exit(Number(value))
if (command === 'die') process.kill(process.pid, value)
if (command === 'cat') process.stdin.pipe(process.stdout)
if (command === 'wait') {
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(signal === 'SIGINT' ? 130 : 143))
  console.log('ready')
  setInterval(() => undefined, 1000)
}
`

let folder: string
let bin: string
let pinned: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-bin-'))
  bin = join(folder, 'apps/host/bin/muster.mjs')
  pinned = join(folder, `.tools/node_modules/node-linux-${process.arch}/bin/node`)
  await mkdir(join(folder, 'apps/host/dist'), { recursive: true })
  await cp(join(import.meta.dirname, 'muster.mjs'), bin, { recursive: true })
  await writeFile(join(folder, 'apps/host/dist/cli.js'), program)
  await needs('>=999')
  await mkdir(dirname(pinned), { recursive: true })
  await symlink(process.execPath, pinned)
})

afterEach(() => rm(folder, { recursive: true, force: true }))

function needs(node: string): Promise<void> {
  return writeFile(join(folder, 'apps/host/package.json'), JSON.stringify({ type: 'module', engines: { node } }))
}

/** Without `process.execve`, as every Node before 22.15, the bin stays as the parent of the program. */
const before = ['--import', 'data:text/javascript,delete process.execve']

function muster(args: string[], flags: readonly string[] = []): ReturnType<typeof spawnSync> {
  return spawnSync(process.execPath, [...flags, bin, ...args], {
    encoding: 'utf8',
    input: 'in\nput',
    env: { PATH: process.env['PATH'] },
  })
}

describe.each([
  ['that can replace itself', []],
  ['that cannot', before],
])('under an older Node %s', (_title, flags) => {
  test('the pinned one runs the program, with its arguments, streams and exit code', () => {
    expect(muster(['args', 'a b', '--json'], flags).stdout).toBe(`["args","a b","--json"] ${process.execPath}\n`)
    expect(muster(['cat'], flags).stdout).toBe('in\nput')
    expect(muster(['exit', '3'], flags).status).toBe(3)
  })

  test('a signal that ends the program ends the bin alike', () => {
    expect(muster(['die', 'SIGKILL'], flags).signal).toBe('SIGKILL')
    expect(muster(['die', 'SIGTERM'], flags).signal).toBe('SIGTERM')
  })

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s to the bin reaches the program', async (signal, code) => {
    const child = spawn(process.execPath, [...flags, bin, 'wait'], { stdio: ['ignore', 'pipe', 'ignore'] })
    await once(child.stdout, 'data')
    child.kill(signal)
    expect(await once(child, 'close')).toEqual([code, null])
  })

  test('without the pinned one it says what to do', async () => {
    await rm(pinned)
    const { status, stderr } = muster(['args'], flags)
    expect(status).toBe(125)
    expect(stderr).toContain(`npm install node-linux-${process.arch}@999`)
  })
})

test('a Node that is new enough runs the program itself', async () => {
  await needs('>=20')
  await rm(pinned)
  expect(muster(['args', 'x']).stdout).toBe(`["args","x"] ${process.execPath}\n`)
})

test('without a build it says how to build', async () => {
  await rm(join(folder, 'apps/host/dist'), { recursive: true })
  const { status, stderr } = muster(['args'])
  expect(status).toBe(125)
  expect(stderr).toContain('npm start')
})
