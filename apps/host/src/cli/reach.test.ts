import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { Argument, Command, InvalidArgumentError } from 'commander'
import { stripVTControlCharacters } from 'node:util'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { tempFolder } from '@muster/test/systems/temp'
import type { Pool, Run } from '@muster/client'
import { suggest } from './completion.ts'
import { linkAt, placeHere, placeOf, targetOf } from './cp.ts'
import { parsePorts } from './forward.ts'
import { harmless } from './io.ts'
import { conditionLine } from './pools.ts'
import { drawn } from './top.ts'

const worker = `w${'1'.repeat(26)}`

test('a place is in a worker only by a whole id', () => {
  expect(placeOf(`${worker}:/srv/a b`)).toEqual({ worker, path: '/srv/a b' })
  expect(placeOf(`${worker}:a:b`)).toEqual({ worker, path: 'a:b' })
  for (const here of ['a', './w1:x', 'C:x', worker, `x/${worker}:y`]) expect(placeOf(here)).toEqual({ path: here })
  expect(() => placeOf(`${worker}:`)).toThrow(InvalidArgumentError)
})

test('a target with a slash at its end is a folder that the source goes into', () => {
  expect(targetOf('/srv/app', './dist')).toEqual({ folder: '/srv', name: 'app' })
  expect(targetOf('/srv/', './dist/')).toEqual({ folder: '/srv/', name: 'dist' })
  expect(targetOf('app', 'dist')).toEqual({ folder: '.', name: 'app' })
  expect(targetOf('.', 'a/dist')).toEqual({ folder: '.', name: 'dist' })
  expect(targetOf('app/..', 'dist')).toEqual({ folder: 'app/..', name: 'dist' })
  // As `cp -r .`: what is in the folder, and nothing beside it.
  for (const source of ['.', './', '..', '../..', '/']) expect(targetOf('app/', source)).toEqual({ folder: 'app/', name: '.' })
})

test('what comes out of a worker never takes the place of the folder that it goes into', async () => {
  await using folder = await tempFolder('cp')
  const place = (source: string, target: string): string => placeHere(source, target)
  expect(place('a/dist', `${folder.path}/`)).toBe(join(folder.path, 'dist'))
  expect(place('a/dist/', folder.path)).toBe(join(folder.path, 'dist'))
  expect(place('.', join(folder.path, 'all'))).toBe(join(folder.path, 'all'))
  for (const source of ['.', '..', '/', 'a/..', 'a/.', './'])
    for (const target of [folder.path, `${folder.path}/`, `${folder.path}/new/`, '.', '..'])
      expect(() => place(source, target), `${source} to ${target}`).toThrow('has no name of its own')
})

test('what comes out of a worker does not go through a link, which may have come out of one', async () => {
  await using folder = await tempFolder('cp')
  const at = (name: string): string => join(folder.path, name)
  await mkdir(at('elsewhere'))
  await writeFile(at('file'), '')
  for (const [name, leads] of Object.entries({ link: 'elsewhere', plain: 'file', nowhere: 'none' }))
    await symlink(leads, at(name))
  const told = `is a link to the folder ${at('elsewhere')}, and nothing is copied through a link`
  for (const spelled of ['link', 'link/', 'link//', 'link/.'])
    expect(() => placeHere('q', at(spelled)), `as ${spelled}`).toThrow(told)
  // The link itself gives way to what comes.
  for (const name of ['plain', 'nowhere']) expect(placeHere('q', at(name))).toBe(at(name))
  expect(placeHere('q', at('elsewhere'))).toBe(at('elsewhere/q'))
  expect([linkAt(at('link')), linkAt(at('link/')), linkAt(at('file')), linkAt(at('none'))]).toEqual([
    'elsewhere',
    'elsewhere',
    undefined,
    undefined,
  ])
})

test('ports: one for both sides, or one for each', () => {
  expect(parsePorts('80')).toEqual({ here: 80, there: 80 })
  expect(parsePorts('0:80')).toEqual({ here: 0, there: 80 })
  for (const wrong of ['', '0', 'a', '80:', ':80', '1:2:3', '70000', '1:70000', '-1']) expect(parsePorts(wrong)).toBeUndefined()
})

describe('completion', () => {
  const program = new Command('muster')
  program.addCommand(new Command('run').requiredOption('--pool <pool>').option('-q, --quiet').argument('<command...>'))
  const workers = new Command('workers').option('--json')
  workers.addCommand(new Command('show').argument('<worker>'))
  program.addCommand(workers)
  program.addCommand(new Command('completion').addArgument(new Argument('<shell>').choices(['bash', 'zsh'])))
  program.addCommand(new Command('__complete'), { hidden: true })

  test.each<[string[], string[], string | undefined]>([
    [[''], ['run', 'workers', 'completion'], undefined],
    [[], ['run', 'workers', 'completion'], undefined],
    [['run', '-'], ['--pool', '--quiet'], undefined],
    [['run', '--pool', ''], [], 'pool'],
    [['run', '--pool', 'ci', '--q'], ['--pool', '--quiet'], undefined],
    [['run', '--pool=ci', '--', 'ls', '-'], [], undefined],
    [['workers', ''], ['show'], undefined],
    [['workers', 'show', 'w0'], [], 'worker'],
    [['completion', ''], ['bash', 'zsh'], undefined],
    [['nothing', ''], [], undefined],
  ])('%j', (words, fixed, names) => {
    const found = suggest(program, words)
    expect([found.fixed, found.names]).toEqual([fixed, names])
  })
})

test('top shows what is wrong first, and cuts to the terminal', () => {
  const pool = { name: 'ci', workers: { leased: 2, idle: 1, terminating: 1 }, scale: { max: 8 }, queued: 3, waiting: 'full' }
  const run = { id: 'r1', state: 'running', createdAt: '2026-01-01T00:00:00.000Z', pool: 'ci', command: ['npm', 'test'] }
  const picture = {
    pools: [pool as unknown as Pool],
    providers: [],
    conditions: [{ scope: 'pool', name: 'ci', type: 'stock', message: 'none is left', hint: '', since: '', updatedAt: '' }],
    runs: [run as unknown as Run, { ...run, id: 'r2' } as unknown as Run],
  }
  const now = Date.parse('2026-01-01T00:05:00.000Z')
  const lines = drawn(picture, { columns: 200, rows: 100, now }).map(stripVTControlCharacters)
  expect(lines).toEqual([
    'stock  pool ci  none is left',
    'POOL  WORKERS         STARTING  IDLE  LEASED  ENDING  QUEUED  CPU  MEMORY  WAITS FOR',
    'ci    #####..... 4/8  0         1     2       1       3                    full',
    '',
    'PROVIDER  STATE  SINCE  RESTARTS  CALLS  NOTE',
    '',
    'RUN  STATE    AGE  POOL  COMMAND',
    'r1   running  5m   ci    npm test',
    'r2   running  5m   ci    npm test',
  ])
  const small = drawn(picture, { columns: 12, rows: 3, now }).map(stripVTControlCharacters)
  expect(small).toEqual(['stock  pool ', 'POOL  WORKER', 'ci    #####.'])
})

test('what others wrote begins no line of its own, and has no colour of ours', () => {
  const message = 'paused by ann: a\u001b[31m\nmuster: all is well'
  const told = conditionLine({ scope: 'pool', name: 'ci', type: 'paused', message, hint: 'resume\nit', since: '', updatedAt: '' })
  expect(stripVTControlCharacters(told)).toBe(
    String.raw`paused: pool ci: paused by ann: a\u001b[31m\u000amuster: all is well (resume\u000ait)`,
  )
})

test('what others wrote steers no terminal: it is shown, each row stays a row, and JSON stays what it is', () => {
  const evil = "sh -c 'echo \u001b]0;title\u0007\u001b[8m\u001b[2J\u009b31m\r\nnext'"
  const run = { id: 'r1', state: 'running', createdAt: '2026-01-01T00:00:00.000Z', pool: 'ci', command: [evil] } as unknown as Run
  const lines = drawn({ pools: [], providers: [], conditions: [], runs: [run] }, { columns: 500, rows: 100, now: 0 })
  expect(lines.filter((line) => line.includes('title'))).toHaveLength(1)
  expect(lines.join('')).toContain(String.raw`\u001b]0;title\u0007\u001b[8m\u001b[2J\u009b31m next`)
  expect(JSON.parse(harmless(JSON.stringify({ evil })))).toEqual({ evil })
  expect(harmless('a\u202eb\u2028c')).toBe('a\\u202eb\\u2028c')
  expect(harmless('\u001b[1mpool\u001b[22m\tone\n')).toBe('\u001b[1mpool\u001b[22m\tone\n')
})
