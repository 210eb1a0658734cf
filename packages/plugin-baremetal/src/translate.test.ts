import { digestOf } from '@muster/provider-parts/digest'
import { quote } from '@muster/provider-parts/quote'
import type { LaunchSpec, Resources } from '@muster/core'
import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseExit } from './exit.ts'
import type { Facts, WorkerState } from './folder.ts'
import {
  checkExecWorkdir,
  checkTarget,
  commandText,
  copyPath,
  envBytes,
  envText,
  handleOf,
  observationOf,
  planOf,
  type Surroundings,
} from './translate.ts'

const id = `w${'0'.repeat(26)}`
const workspace = `/place/workers/${id}/workspace`
const tags = { 'muster-owner': 'o', 'muster-provider': 'p', 'muster-pool': 'c', 'muster-worker': id, 'muster-epoch': '1' }

const here: Surroundings = {
  isolated: true,
  can: { cpu: true, memory: true, pids: true },
  cgroupHint: 'as root',
  setpriv: '/usr/bin/setpriv',
  bash: false,
  binds: ['/srv/cache'],
  arch: 'x64',
  machine: { cpu: 4, memoryBytes: 8 * 2 ** 30 },
}

function spec(rest: Partial<LaunchSpec> = {}): LaunchSpec {
  return { id, tags, work: { mode: 'hold' }, ...rest }
}

function plan(rest: Partial<LaunchSpec> = {}, around: Partial<Surroundings> = {}): ReturnType<typeof planOf> {
  return planOf(spec(rest), workspace, { ...here, ...around })
}

describe('a plan', () => {
  test('of nothing but a mode', () => {
    expect(plan()).toEqual({ env: {}, workdir: workspace, files: [], mounts: [], limits: {}, noNewPrivileges: true, labels: {} })
  })

  test('resolves paths against the working folder', () => {
    const { workdir, files, mounts } = plan({
      workdir: 'a/b',
      files: [
        { path: 'c', base64: 'eA==' },
        { path: '../d', base64: '' },
        { path: `${workspace}/e`, base64: '', mode: 0o700 },
      ],
      mounts: [{ target: 'cache', source: { kind: 'bind', path: '/srv/cache/npm' } }],
    })
    expect({ workdir, files: files.map(({ path, mode }) => [path, mode]), mounts }).toEqual({
      workdir: `${workspace}/a/b`,
      files: [
        ['a/b/c', 0o600],
        ['a/d', 0o600],
        ['e', 0o700],
      ],
      mounts: [{ path: 'a/b/cache', source: '/srv/cache/npm', readOnly: false }],
    })
  })
})

const agentWork = { mode: 'agent' as const, ticket: { $secret: 'the-ticket' }, url: 'http://127.0.0.1:9' }

test('an agent is the command, and knows where to go with its ticket', () => {
  const { command, agent } = plan({ work: agentWork, settings: { agent: ['sh', 'agent.sh'] } })
  expect({ command, agent }).toEqual({ command: ['sh', 'agent.sh'], agent: { url: 'http://127.0.0.1:9', ticket: 'the-ticket' } })
  expect(plan({ settings: {} }).agent).toBeUndefined()
})

const bind = (path: string, target = 'm'): Partial<LaunchSpec> => ({ mounts: [{ target, source: { kind: 'bind', path } }] })

test.each<[string, Partial<LaunchSpec>, string, string, Partial<Surroundings>?]>([
  ['an agent that nobody names', { work: agentWork }, 'invalid-spec', 'settings.agent'],
  ['an agent where none works', { settings: { agent: ['x'] } }, 'unsupported', 'settings.agent'],
  ['settings that it does not know', { settings: { agnt: ['x'] } }, 'invalid-spec', 'settings'],
  ['a NUL in an agent', { work: agentWork, settings: { agent: ['x', 'a\0'] } }, 'invalid-spec', 'settings'],
  ['a variable of the agent', { env: { MUSTER_AGENT_URL: 'x' } }, 'unsupported', 'env.MUSTER_AGENT_URL'],
  ['an image', { image: 'x' }, 'unsupported', 'image'],
  ['a lifetime', { lifetimeMs: 5 }, 'unsupported', 'lifetimeMs'],
  ['a volume', { mounts: [{ target: 'm', source: { kind: 'volume', name: 'v' } }] }, 'unsupported', 'mounts.volume'],
  ['no network', { network: { egress: 'none' } }, 'unsupported', 'network.egress.none'],
  ['another system', { os: 'darwin' }, 'unsupported', 'os'],
  ['another processor', { arch: 'arm64' }, 'unsupported', 'arch'],
  ['more processors than there are', { resources: { cpu: 4.01 } }, 'unsupported', 'resources.cpu'],
  ['more memory than there is', { resources: { memoryBytes: 8 * 2 ** 30 + 1 } }, 'unsupported', 'resources.memoryBytes'],
  ['less memory than a shell needs', { resources: { memoryBytes: 1 } }, 'invalid-spec', 'resources.memoryBytes'],
  ['memory without a cgroup', { resources: { memoryBytes: 1 } }, 'unsupported', 'resources.memoryBytes', { can: { cpu: true } }],
  ['privileges for a user of its own', { security: { noNewPrivileges: false } }, 'unsupported', 'security.noNewPrivileges'],
  [
    'no new privileges without setpriv',
    { security: { noNewPrivileges: true } },
    'unsupported',
    'security.noNewPrivileges',
    { setpriv: undefined },
  ],
  ['an absolute working folder', { workdir: '/build' }, 'unsupported', 'workdir'],
  ['a working folder outside', { workdir: '../x' }, 'invalid-spec', 'workdir'],
  ['a working folder beside', { workdir: `${workspace}2` }, 'unsupported', 'workdir'],
  ['a file outside', { files: [{ path: 'a/../../b', base64: '' }] }, 'invalid-spec', 'files.0.path'],
  ['a file in the place of the folder', { files: [{ path: '.', base64: '' }] }, 'invalid-spec', 'files.0.path'],
  ['two files in one place', { files: ['a/b', 'a'].map((path) => ({ path, base64: '' })) }, 'invalid-spec', 'files.1.path'],
  ['a bind that is not allowed', bind('/srv/cache2'), 'unsupported', 'mounts.0.source.path'],
  ['a bind that leads out', bind('/srv/cache/../x'), 'unsupported', 'mounts.0.source.path'],
  ['a bind at the root', bind('/srv/cache', '/cache'), 'unsupported', 'mounts.0.target'],
  ['a bind of the working folder', bind('/srv/cache', '.'), 'unsupported', 'mounts.0.target'],
  ['a NUL in env', { env: { A: '\0' } }, 'invalid-spec', 'env.A'],
  ['a variable of the shell', { env: { OPTIND: 'x' } }, 'unsupported', 'env.OPTIND'],
  ['a variable of bash', { env: { UID: '1' } }, 'unsupported', 'env.UID', { bash: true }],
  ['a variable of the worker', { env: { MUSTER_WORKER: 'x' } }, 'unsupported', 'env.MUSTER_WORKER'],
  ['too much env', { env: { A: 'x'.repeat(envBytes) } }, 'invalid-spec', 'env'],
  ['a word too long', { work: { mode: 'command', command: ['echo', 'x'.repeat(131_072)] } }, 'invalid-spec', 'work.command.1'],
])('%s is refused by its path', (...[, rest, code, path, around]) => {
  expect(() => plan(rest, around)).toThrowError(expect.objectContaining({ code, path, effect: 'none' }))
})

test('what another machine could not do is no hindrance here', () => {
  expect(plan({ env: { UID: '1' } }).env).toEqual({ UID: '1' })
  expect(plan({ security: { noNewPrivileges: false } }, { isolated: false }).noNewPrivileges).toBe(false)
  expect(plan({ arch: 'arm64' }, { arch: 'arm64' })).toBeDefined()
  const limits: Resources = { cpu: 2, memoryBytes: 4 * 2 ** 20, pids: 9 }
  expect(plan({ resources: limits }).limits).toEqual(limits)
  expect(plan({ env: { A: 'x'.repeat(envBytes - 1) } })).toBeDefined()
})

test('a digest is of the values, not of their order', () => {
  const one = spec({ env: { A: '1', B: '2' } })
  const same = JSON.parse(JSON.stringify({ env: { B: '2', A: '1' }, work: one.work, tags, id })) as LaunchSpec
  expect(digestOf(same)).toBe(digestOf(one))
  expect(digestOf(spec({ env: { A: '1', B: '3' } }))).not.toBe(digestOf(one))
  expect(digestOf(spec({ work: { mode: 'command', command: ['a', 'b'] } }))).not.toBe(
    digestOf(spec({ work: { mode: 'command', command: ['b', 'a'] } })),
  )
})

test('what a shell reads is what was meant', () => {
  const value = fc.string({ unit: 'grapheme' }).map((text) => text.replaceAll('\0', ''))
  fc.assert(
    fc.property(value, fc.array(value, { minLength: 1, maxLength: 3 }), (text, command) => {
      const shown = execFileSync(
        '/bin/sh',
        ['-c', `${envText({ A: text }, '/w')}${commandText(command)}printf '%s\\001' "$A" "$@" "$MUSTER_WORKDIR"`],
        { encoding: 'utf8' },
      )
      expect(shown.split('\u0001')).toEqual([text, ...command, '/w', ''])
    }),
    { numRuns: 25 },
  )
  expect(quote("it's")).toBe(`'it'\\''s'`)
})

test('targets and handles', () => {
  expect(checkTarget({ id })).toBe(id)
  expect(checkTarget({ id, handle: handleOf(id) })).toBe(id)
  for (const handle of [{ v: 2, data: { worker: id } }, { v: 1, data: null }, handleOf(`w${'1'.repeat(26)}`)])
    expect(() => checkTarget({ id, handle })).toThrowError(expect.objectContaining({ code: 'invalid-spec', path: 'handle' }))
  expect(() => checkTarget({ id: '../../etc' })).toThrowError(expect.objectContaining({ code: 'invalid-spec', path: 'id' }))
})

const state: WorkerState = {
  v: 1,
  id,
  tags,
  digest: '',
  mode: 'hold',
  boot: 'this',
  createdAt: 0,
  noNewPrivileges: true,
  mark: 1,
  workdir: workspace,
  labels: {},
}
const alive: Facts = { supervisor: 'alive', stopping: false, stopper: false, suspended: false, boot: 'this' }

test.each<[string, Partial<Facts>, object]>([
  ['before its supervisor', { supervisor: 'none' }, { phase: 'provisioning', ready: false }],
  ['with it', {}, { phase: 'running', ready: true }],
  ['suspended', { suspended: true }, { phase: 'suspended', ready: false }],
  ['exited', { supervisor: 'dead', exit: { code: 3, reason: 'r' } }, { phase: 'exited', exit: { code: 3, reason: 'r' } }],
  ['exited, its supervisor not yet ended', { exit: { code: 3, reason: 'r' } }, { phase: 'exited' }],
  [
    'without it',
    { supervisor: 'dead' },
    { phase: 'lost', exit: { reason: 'unknown: the process that watches the worker was killed' } },
  ],
  [
    'after a restart',
    { supervisor: 'dead', boot: 'next' },
    { phase: 'lost', exit: { reason: 'unknown: the machine was restarted' } },
  ],
  ['stopping', { stopping: true, supervisor: 'dead' }, { phase: 'stopping' }],
])('a worker %s', (_what, facts, expected) => {
  expect(observationOf(state, { ...alive, ...facts })).toMatchObject({ id, tags, handle: handleOf(id), ...expected })
})

test.each([
  ['0 - 0 -', { code: 0, reason: 'exited with 0' }],
  ['137 - 0 -', { code: 137, reason: 'exited with 137' }],
  ['137 KILL 0 -', { signal: 'SIGKILL', reason: 'ended by SIGKILL' }],
  ['137 KILL 1 -', { signal: 'SIGKILL', oomKilled: true, reason: 'out of memory' }],
  ['137 - 2 -', { code: 137, oomKilled: true, reason: 'out of memory' }],
  ['1 - 1 -', { code: 1, reason: 'exited with 1; the kernel ended a process of it that was out of memory' }],
  ['0 - 1 -', { code: 0, reason: 'exited with 0' }],
  [
    '0 - 0 stdout+stderr',
    { code: 0, reason: 'exited with 0; the end of stdout and stderr is missing, the machine could not store it' },
  ],
  [
    '143 SIGTERM 0 stderr',
    { signal: 'SIGTERM', reason: 'ended by SIGTERM; the end of stderr is missing, the machine could not store it' },
  ],
])('the exit %s', (text, expected) => {
  expect(parseExit(`${text}\n`, new Date(0))).toEqual({ ...expected, at: '1970-01-01T00:00:00.000Z' })
})

test('paths of copies begin at the working folder', () => {
  expect([copyPath(state, 'a/b'), copyPath(state, '.'), copyPath(state, '/etc'), copyPath(state, '../x')]).toEqual([
    `${workspace}/a/b`,
    workspace,
    '/etc',
    `/place/workers/${id}/x`,
  ])
  expect(() => copyPath(state, 'a\0')).toThrowError(expect.objectContaining({ path: 'path' }))
})

test('a command of a worker that lives is held in its folder as the spec of one is', () => {
  const check = (path?: string): void => checkExecWorkdir({ workdir: `${workspace}/a` }, workspace, path)
  for (const path of [undefined, '.', '..', '../b', 'c/../../d', '/etc']) expect(() => check(path)).not.toThrow()
  for (const path of ['../..', '../../x', 'b/../../../..'])
    expect(() => check(path)).toThrowError(expect.objectContaining({ code: 'invalid-spec', path: 'workdir' }))
})
