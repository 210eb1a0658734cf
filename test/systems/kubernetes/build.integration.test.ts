/** The build of a cluster's programs, with a Go that builds nothing. */
import { cp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { afterEach, beforeEach, expect, test } from 'vitest'

import { type ProcessExit, runProcess, startProcess } from '../process.ts'
import { type TempFolder, tempFolder } from '../temp.ts'
import { waitFor } from '../wait.ts'

/** Writes down that it was called, begins to write, and waits while a file `hold` is there; where one `fails` is, it then fails. */
const GO = `#!/bin/sh
while [ "$1" != -o ]; do shift; done
basename "$2" | sed 's/-.*//' >> "$FAKE/called"
echo half > "$2"
if [ -e "$FAKE/fails" ]; then
  while [ -e "$FAKE/hold" ]; do sleep 0.1; done
  exit 1
fi
[ -e "$FAKE/hold" ] && exec sleep 600
chmod 755 "$2"
`

let folder: TempFolder
let env: NodeJS.ProcessEnv
const at = (name: string): string => join(folder.path, name)
const called = async (): Promise<string[]> => (await readFile(at('called'), 'utf8').catch(() => '')).split('\n').slice(0, -1)
const build = (
  script = join(import.meta.dirname, 'build.sh'),
  ...args: string[]
): Promise<ProcessExit & { stdout: string; stderr: string }> => runProcess([script, ...args], { env })

beforeEach(async () => {
  folder = await tempFolder('build')
  env = { PATH: `${folder.path}:${process.env['PATH']}`, XDG_CACHE_HOME: at('cache'), FAKE: folder.path }
  await writeFile(at('go'), GO, { mode: 0o755 })
})
afterEach(() => folder.remove())

test('one that is killed leaves nothing that counts, and two at once build each program once', async () => {
  const script = join(import.meta.dirname, 'build.sh')
  expect((await build(script, '--paths')).code).toBe(3)
  await writeFile(at('hold'), '')
  const killed = await startProcess([script], { env, logFile: at('log'), detached: true })
  await waitFor('the build to have begun', called, { until: (names) => names.length > 0 })
  expect((await build(script, '--paths')).code).toBe(4)
  // With all that it has started.
  process.kill(-killed.pid, 'SIGKILL')
  await killed.exited
  expect((await waitFor('its lock to be free', () => build(script, '--paths'), { until: ({ code }) => code !== 4 })).code).toBe(3)

  await rm(at('hold'))
  const [one, two] = await Promise.all([build(), build()])
  expect([one.code, two.code, two.stdout]).toEqual([0, 0, one.stdout])
  expect(await called()).toEqual(['probe', 'probe', 'kubelab'])
  expect(await build(script, '--paths')).toMatchObject({ code: 0, stdout: one.stdout })
  const paths = one.stdout
    .trim()
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
  const there = (await readdir(at('cache/muster-test/kubernetes/bin'))).map((name) =>
    at(`cache/muster-test/kubernetes/bin/${name}`),
  )
  expect(there.toSorted()).toEqual(paths.toSorted())
})

test('one that fails is told to all who wait for it, and is begun again by none of them, but by the next', async () => {
  for (const name of ['hold', 'fails']) await writeFile(at(name), '')
  const first = build()
  await waitFor('the build to have begun', called, { until: (names) => names.length > 0 })
  const others = [build(), build()]
  const { ino } = await stat(at('cache/muster-test/kubernetes/lock'))
  const waiting = async (): Promise<string[]> =>
    (await readFile('/proc/locks', 'utf8')).split('\n').filter((line) => line.includes('->') && line.includes(`:${ino} `))
  await waitFor('both others to wait', waiting, { until: ({ length }) => length === 2 })
  await rm(at('hold'))
  expect((await Promise.all([first, ...others])).map(({ code }) => code)).toEqual([1, 1, 1])
  for (const one of others) expect((await one).stderr).toContain('probe cannot be built, as the build that was waited for')
  expect(await called()).toEqual(['probe'])
  await rm(at('fails'))
  expect((await build()).code).toBe(0)
})

test('what is built has the name of its sources, wherever they lie', async () => {
  await cp(import.meta.dirname, at('clone'), { recursive: true })
  const script = at('clone/build.sh')
  const here = (await build()).stdout
  expect((await build(script, '--paths')).stdout).toBe(here)
  await writeFile(at('clone/probe/more.go'), 'package main\n')
  const [probe, kubelab] = (await build(script, '--paths')).stdout.split('\n')
  expect(here).not.toContain(probe)
  expect(here).toContain(kubelab)
})
