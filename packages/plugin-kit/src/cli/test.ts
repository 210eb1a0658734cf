import { writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { Outcome } from '@muster/core/testing'
import { conform } from '../conform.ts'
import { print, say } from '../io.ts'

export interface TestCommand {
  folder: string
  tarball?: string
  setup?: string
  only?: string
  parallel: number
  report: string
  json?: true
}

export async function test({ folder, report: file, json, ...options }: TestCommand): Promise<boolean> {
  const report = await conform(resolve(folder), { ...options, ...(json === true ? {} : { onOutcome: tell }) })
  const text = `${JSON.stringify(report, null, 2)}\n`
  await writeFile(resolve(folder, file), text)
  const { artifact, suite, tests, result } = report
  if (json === true) print(text.trimEnd())
  else {
    const count = (outcome: Outcome['outcome']): number => tests.filter((one) => one.outcome === outcome).length
    print(`${artifact.package}@${artifact.version}, files ${artifact.tree}`)
    print(
      `${suite.package}@${suite.version}: ${count('pass')} passed, ${count('fail')} failed, ${count('not declared')} not declared`,
    )
  }
  if (result === 'partial') say('not all tests were asked for: this says nothing of the whole')
  return result !== 'fail'
}

const marks: Record<Outcome['outcome'], string> = { pass: 'ok  ', fail: 'FAIL', 'not declared': '-   ' }

export function tell({ name, outcome, detail, ms }: Outcome): void {
  print(`${marks[outcome]} ${name} (${outcome === 'not declared' ? detail : `${ms} ms`})`)
  if (outcome === 'fail') print(`     ${(detail ?? '').replaceAll('\n', '\n     ')}`)
}
