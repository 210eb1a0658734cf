import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { word } from './word.ts'

test.each(['/etc/muster/a.tgz', '@acme/plugin@^1.2.0', 'https://npm.example/@a%2fb'])('%s stands as it is', (text) => {
  expect(word(text)).toBe(text)
})

test.each(['/srv/my data/x', 'http://a.example/x.tgz; reboot #', '$(id)`id`', "it's", '>=1 <2 || 3', '~/x', 'a\nb', '', '*'])(
  '%j is one word to a shell, and nothing else',
  (text) => {
    expect(execFileSync('/bin/sh', ['-c', `printf '[%s]' ${word(text)}`], { encoding: 'utf8' })).toBe(`[${text}]`)
  },
)
