import { accessSync, constants } from 'node:fs'
import { expect, test } from 'vitest'
import { interpreterPath } from './interpreter.ts'

test('a program of the machine is found by its name, whatever PATH says', () => {
  const path = interpreterPath('sh')
  expect(path).toMatch(/^\/(?:usr\/local\/bin|usr\/bin|bin)\/sh$/)
  expect(() => accessSync(path, constants.X_OK)).not.toThrow()
})

test('what is not there is told with where it was looked for', () => {
  expect(() => interpreterPath('no-such-program')).toThrow(
    'the program no-such-program, which runs it, is in none of /usr/local/bin, /usr/bin, /bin',
  )
})
