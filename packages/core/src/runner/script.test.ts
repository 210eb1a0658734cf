/** The text of the runner's script; what it does is tested with shells. */
import { expect, test } from 'vitest'
import { runnerScript } from './script.ts'

test('the script is whole: it has each function that it calls, once', () => {
  const defined = [...runnerScript.matchAll(/^(_m_\w+)\(\)/gm)].map(([, name]) => name)
  expect(defined).toEqual(expect.arrayContaining(['_m_born', '_m_supervise', '_m_follow', '_m_say']))
  expect(new Set(defined).size).toBe(defined.length)
  expect(runnerScript.startsWith('\n# _m_born PID')).toBe(true)
  expect(runnerScript.endsWith('\n')).toBe(true)
})
