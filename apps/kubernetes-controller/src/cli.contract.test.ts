/** The program itself, as a process. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { runProcess, startProcess } from '@muster/test/systems/process'
import { tempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'

const program = [process.execPath, '--conditions=@muster/source', join(import.meta.dirname, 'cli.ts')] as const

test('it prints its definitions and its Role, and names what is wrong with a call', async () => {
  const crds = await runProcess([...program, 'crds'])
  expect(crds.stdout.match(/^kind: CustomResourceDefinition$/gm)).toHaveLength(3)
  const [view, controller] = await Promise.all(
    ['view', 'controller'].map((mode) => runProcess([...program, 'role', mode, '-n', 'ci'])),
  )
  expect(view?.stdout).toContain('namespace: ci')
  expect(view?.stdout).not.toContain('workerpools')
  expect(controller?.stdout).toContain('workerpools')
  const wrong = await runProcess([...program, 'role', 'all'])
  expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('view, controller')])
  const without = await runProcess([...program, 'controller'])
  expect([without.code, without.stderr]).toEqual([1, expect.stringContaining('--base <file>')])
})

test.each(['view', 'controller'])('%s tells that no daemon answers, waits for one, and ends when it is told to', async (mode) => {
  await using temp = await tempFolder('objects')
  const at = (name: string): string => join(temp.path, name)
  const name = 'one'
  const kubeconfig = {
    clusters: [{ name, cluster: { server: 'http://127.0.0.1:1' } }],
    users: [{ name, user: {} }],
    contexts: [{ name, context: { cluster: name, user: name } }],
    'current-context': name,
  }
  await writeFile(at('kubeconfig'), JSON.stringify(kubeconfig))
  await writeFile(at('base.yaml'), 'host: { data: data }\nproviders: {}\npools: {}\n')
  const files = mode === 'view' ? ['--data', at('data')] : ['--base', at('base.yaml'), '-c', at('muster.yaml')]
  const where = ['--kubeconfig', at('kubeconfig'), '--context', name]
  const one = await startProcess([...program, mode, ...files, ...where], { cwd: temp.path })
  await waitFor('its words', () => one.stderr(), { until: (words) => /^muster-kubernetes: .*daemon/m.test(words) })
  if (mode === 'controller') expect(await readFile(at('muster.yaml'), 'utf8')).toContain('providers')
  one.kill('SIGTERM')
  await one.expectExit(0)
})

test('a kubeconfig that is not there is named', async () => {
  const { code, stderr } = await runProcess([...program, 'view', '--kubeconfig', '/none/kubeconfig'])
  expect([code, stderr]).toEqual([1, expect.stringContaining('/none/kubeconfig')])
})
