import type { PluginPermissions } from '@muster/core'
import { commandOf } from '@muster/packed/command'
import { expect, test } from 'vitest'
import { plainManifest } from './testing/manifest.ts'

const place = { main: '/none/code/plugin.mjs', code: ['/none/code'], cwd: '/none/own' }
const all: PluginPermissions = { net: ['*'], unix: [], fsRead: ['/etc'], fsWrite: ['/'], env: [], childProcess: true }
const begin = [process.execPath, '--disable-sigusr1', '--max-old-space-size=64']
const closed = ['--permission', '--no-experimental-sqlite']
const end = ['--disable-warning=ExperimentalWarning', place.main]

test('a plugin that asks for nothing has its code to read and its own folder', () => {
  expect(commandOf(plainManifest('x'), { ...place, confined: true })).toEqual([
    ...[...begin, ...closed],
    ...['--allow-fs-read=/none/code', '--allow-fs-read=/none/own', '--allow-fs-write=/none/own'],
    ...end,
  ])
})

test('one that asks for more has that, and all else is closed', () => {
  const manifest = plainManifest('x', { permissions: all })
  expect(commandOf(manifest, { ...place, confined: true })).toEqual([
    ...[...begin, ...closed],
    ...['/none/code', '/none/own', '/etc', '*'].map((path) => `--allow-fs-read=${path}`),
    ...['/none/own', '*'].map((path) => `--allow-fs-write=${path}`),
    ...['--allow-net', '--allow-child-process', ...end],
  ])
  expect(commandOf(manifest, { ...place, confined: false })).toEqual([...begin, place.main])
})
