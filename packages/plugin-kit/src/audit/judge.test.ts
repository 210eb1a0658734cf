import type { PluginPermissions } from '@muster/core'
import { describe, expect, it } from 'vitest'
import { judge, type Judged, type Use } from './judge.ts'

const where = { dir: '/tmp/kit/vendor', temp: '/tmp' }
const none: PluginPermissions = { net: [], unix: [], fsRead: [], fsWrite: [], env: [], childProcess: false }

const use = (kind: Use['kind'], value: string): Use => ({ kind, value, test: `of ${value}`, place: 'src/plugin.ts:1:1' })
const judged = (uses: readonly Use[], asked: Partial<PluginPermissions> = {}, except: readonly string[] = []): Judged =>
  judge(uses, { ...none, ...asked }, { where, excepted: (kind, value) => except.includes(`${kind}:${value}`) })
/** Undeclared and unused, in short. */
const told = ({ undeclared, unused }: Judged): string[] => [
  ...undeclared.map(({ kind, asks }) => `+ ${kind} ${asks}`),
  ...unused.map(({ kind, value, because }) => `- ${kind} ${value}: ${because}`),
]
const worker = `w${'0'.repeat(26)}`

describe('a use', () => {
  it.each<[string, Use, string]>([
    ['a file of the machine', use('fsRead', '/etc/hosts'), '/etc/hosts'],
    ['a process', use('fsRead', '/proc/123/environ'), '/proc'],
    ['a worker of its own folder', use('fsWrite', `/var/lib/acme/${worker}/spec`), '/var/lib/acme'],
    ['a number in the root', use('fsRead', '/42/x'), '/'],
    ['a temporary file', use('fsWrite', '/tmp/acme-8Xq/x'), '/tmp'],
    ['a folder that the configuration names', use('fsWrite', '/tmp/kit/vendor/x'), '/'],
    ['a socket that the configuration names', use('unix', '/tmp/kit/vendor/x.sock'), '*'],
    ['a socket of the machine', use('unix', '/run/acme.sock'), '/run/acme.sock'],
    ['a stand-in for a vendor', use('net', 'localhost:41234'), '127.0.0.1:*'],
    ['a vendor', use('net', 'api.acme.example:443'), 'api.acme.example:443'],
    ['a variable', use('env', 'HOME'), 'HOME'],
  ])('of %s is asked for by what holds in the next run too', (_name, seen, asks) => {
    const { undeclared, least } = judged([seen])
    expect(undeclared).toEqual([{ ...seen, asks, count: 1 }])
    expect(least).toEqual({ ...none, [seen.kind]: [asks] })
    // What would do does.
    expect(told(judged([seen], least))).toEqual([])
  })

  it('is told once, with where it was first seen', () => {
    const uses = [use('fsRead', '/proc/1/stat'), use('fsRead', '/proc/2/stat'), use('childProcess', '/bin/sh')]
    expect(judged(uses).undeclared).toMatchObject([
      { asks: '/proc', value: '/proc/1/stat', test: 'of /proc/1/stat', count: 2 },
      { kind: 'childProcess', value: '/bin/sh' },
    ])
    expect(judged(uses).least).toEqual({ ...none, fsRead: ['/proc'], childProcess: true })
  })

  it.each<[Use, Partial<PluginPermissions>]>([
    [use('fsRead', '/etc/acme/x'), { fsRead: ['/etc/acme'] }],
    [use('fsRead', '/etc/acme'), { fsRead: ['/etc/acme'] }],
    [use('fsRead', '/tmp/acme/x'), { fsRead: ['/tmp/acme'] }],
    [use('net', 'api.acme.example:443'), { net: ['api.acme.example:*'] }],
    [use('net', 'api.acme.example:443'), { net: ['*'] }],
    [use('net', '[::1]:80'), { net: ['localhost'] }],
    [use('unix', '/run/acme.sock'), { unix: ['*'] }],
    [use('childProcess', '/bin/sh'), { childProcess: true }],
  ])('is declared: %j by %j', (seen, asked) => {
    expect(told(judged([seen], asked))).toEqual([])
    expect(judged([seen], asked).least).toEqual({ ...none, ...asked })
  })

  it('of what may be written may be read; not the other way round', () => {
    const write = { fsWrite: ['/srv'] }
    expect(told(judged([use('fsWrite', '/srv/x'), use('fsRead', '/srv/x')], write))).toEqual([])
    expect(told(judged([use('fsRead', '/srv/x'), use('fsWrite', '/srv/x')], { fsRead: ['/srv'] }))).toEqual(['+ fsWrite /srv/x'])
  })

  it.each<[Use, Partial<PluginPermissions>, string]>([
    [use('fsRead', '/etc/acme2'), { fsRead: ['/etc/acme'] }, '+ fsRead /etc/acme2'],
    // In the next run it is elsewhere.
    [use('fsRead', '/tmp/kit/vendor/x'), { fsRead: ['/tmp'] }, '+ fsRead /'],
    [use('net', 'api.acme.example:443'), { net: ['acme.example:443'] }, '+ net api.acme.example:443'],
    [use('net', 'api.acme.example:80'), { net: ['api.acme.example:443'] }, '+ net api.acme.example:80'],
    [use('unix', '/run/other.sock'), { unix: ['/run/acme.sock'] }, '+ unix /run/other.sock'],
  ])('is not declared: %j by %j', (seen, asked, wanted) => {
    expect(told(judged([seen], asked))).toContain(wanted)
  })

  it('of what no host allows is told where it would be kept in', () => {
    const thread = use('never', 'WorkerThreads')
    expect(told(judged([thread]))).toEqual(['+ never WorkerThreads'])
    const all = { fsWrite: ['/'], childProcess: true }
    expect(told(judged([thread, use('fsWrite', '/tmp/kit/vendor/x'), use('childProcess', 'x')], all))).toEqual([])
  })
})

describe('a permission', () => {
  it('that no test uses is told, with all others', () => {
    const asked = { net: ['*'], unix: ['/a'], fsRead: ['/b', '/c'], fsWrite: ['/d'], env: ['E', 'F'], childProcess: true }
    expect(told(judged([use('fsRead', '/c/x'), use('env', 'F')], asked))).toEqual([
      '- net *: no test uses it',
      '- unix /a: no test uses it',
      '- fsRead /b: no test uses it',
      '- fsWrite /d: no test uses it',
      '- env E: no test uses it',
      '- childProcess true: no test starts one',
    ])
    expect(judged([use('fsRead', '/c/x'), use('env', 'F')], asked).least).toEqual({ ...none, fsRead: ['/c'], env: ['F'] })
  })

  it('for all files is more than what lies in some folders', () => {
    const uses = [use('fsRead', '/proc/1/stat'), use('fsRead', '/etc/a/b'), use('fsRead', '/etc/a/b/c')]
    expect(told(judged(uses, { fsRead: ['/'] }))).toEqual(['- fsRead /: all that is used lies in /etc/a/b, /proc'])
    expect(judged(uses, { fsRead: ['/'] }).least).toEqual({ ...none, fsRead: ['/etc/a/b', '/proc'] })
  })

  it('or a use that the author excepts is neither told nor changed', () => {
    const except = ['env:HOME', 'net:*', 'childProcess:']
    const { least, ...rest } = judged([use('env', 'HOME')], { net: ['*'], childProcess: true }, except)
    expect(told({ ...rest, least })).toEqual([])
    expect(least).toEqual({ ...none, net: ['*'], childProcess: true })
  })
})
