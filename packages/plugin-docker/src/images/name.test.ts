import { expect, test } from 'vitest'
import { canonical, isImageName, mirrored, pullQuery, registryOf } from './name.ts'

test.each([
  ['busybox', 'busybox', 'latest'],
  ['busybox:1', 'busybox', '1'],
  ['127.0.0.1:5000/x', '127.0.0.1:5000/x', 'latest'],
  ['127.0.0.1:5000/x:1', '127.0.0.1:5000/x', '1'],
  ['r/x@sha256:ab', 'r/x', 'sha256:ab'],
  ['r:5000/x:1@sha256:ab', 'r:5000/x', 'sha256:ab'],
])('%s is pulled as %s, %s', (image, fromImage, tag) => {
  expect(pullQuery(image)).toEqual({ fromImage, tag })
})

test.each([
  ['busybox', 'docker.io', 'docker.io/library/busybox:latest'],
  ['docker.io/busybox:1', 'docker.io', 'docker.io/library/busybox:1'],
  ['team/tool:2', 'docker.io', 'docker.io/team/tool:2'],
  ['localhost/tool', 'localhost', 'localhost/tool:latest'],
  ['r.test:5000/a/b', 'r.test:5000', 'r.test:5000/a/b:latest'],
  ['r.test/a:1@sha256:ab', 'r.test', 'r.test/a@sha256:ab'],
])('%s is in the registry %s, in full %s', (image, registry, full) => {
  expect([registryOf(image), canonical(image)]).toEqual([registry, full])
})

test('a mirror stands for what its name begins with, the longest first, never for a part of a word', () => {
  const mirrors = [
    ['r.test/team', 'm.test/a'],
    ['r.test', 'm.test/b'],
    ['docker.io', 'm.test/hub'],
  ] as const
  const of = (image: string): string => mirrored(image, mirrors)
  expect(of('r.test/team/x:1')).toBe('m.test/a/x:1')
  expect(of('r.test/teams/x:1')).toBe('m.test/b/teams/x:1')
  expect(of('r.test.example/x')).toBe('r.test.example/x')
  expect(of('busybox@sha256:ab')).toBe('m.test/hub/library/busybox@sha256:ab')
})

test.each([
  ...['busybox', 'a/b__c/d-e.f_g:V1.2-x', 'r.test:5000/x', 'R.Test/x:1@sha256:ab', `sha256:${'0a'.repeat(32)}`, '[::1]:5000/x'],
  ...['localhost/x--y', '1'],
])('%s is the name of an image', (image) => {
  expect(isImageName(image)).toBe(true)
})

test.each([
  ...[
    '',
    'a//b',
    '../x',
    'a/../b',
    '/a',
    'a/',
    'A',
    'a b',
    'a?b',
    'a#b',
    'a%2fb',
    'a:',
    'a:b/c:d',
    'a@b',
    'a\n',
    `a${'/a'.repeat(300)}`,
  ],
  ...['a@sha256:ab?x', 'a:b@sha256:', '-a/b'],
])('%j is none', (image) => {
  expect(isImageName(image)).toBe(false)
})
