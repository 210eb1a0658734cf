import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { removeLocalPlace } from '@muster/test/systems/muster'
import { runProcess, startProcess } from '@muster/test/systems/process'
import { tempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '..')

test('the tour of the README works as it stands there', async () => {
  const readme = await readFile(join(root, 'README.md'), 'utf8')
  const blocks = [...readme.matchAll(/<!-- tour -->\n```sh\n([\s\S]*?)```/g)].map((match) => match[1] ?? '')
  expect(blocks.length).toBeGreaterThan(5)
  await using temp = await tempFolder('tour')
  const env = { ...process.env, MUSTER_SOURCE: '1', CI: 'true', TMPDIR: temp.path }
  const folder = join(temp.path, 'muster')
  await using daemon = await startProcess(
    [process.execPath, '--conditions=@muster/source', join(root, 'scripts/start.mjs'), '--folder', folder],
    { env },
  )
  await waitFor('the daemon to stay up', () => daemon.stderr().includes('Ctrl-C stops the daemon'), { timeoutMs: 120_000 })
  const url = /the daemon serves (http:\S+)/.exec(daemon.stderr())?.[1] ?? ''
  const token = (await readFile(join(folder, '.muster/admin.token'), 'utf8')).trim()
  // The reader is in the folder of the daemon; here it is another one, so that no data of this repository is touched.
  const tour = await runProcess(['sh', '-ec', blocks.join('\n')], {
    cwd: root,
    env: { ...env, MUSTER_URL: url, MUSTER_TOKEN: token },
    timeoutMs: 120_000,
  })
  expect({ code: tour.code, stderr: tour.code === 0 ? '' : tour.stderr }).toEqual({ code: 0, stderr: '' })
  for (const wanted of [
    /^hello$/m,
    /^3\n2\n1$/m,
    /^working\nexit code 3$/m,
    /^durations\.js$/m,
    /^step 1\nstep 2\nstep 3$/m,
    /the run ended: passed/,
    /^kept$/m,
    /durations: 1 job passed/,
    /^local +active +local +8 /m,
  ])
    expect(tour.stdout).toMatch(wanted)
  daemon.kill('SIGINT')
  await daemon.expectExit(0)
  await removeLocalPlace(join(folder, '.muster'))
}, 300_000)
