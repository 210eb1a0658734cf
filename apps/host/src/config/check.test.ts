import type { WorkerCapabilities, WorkerPluginManifest } from '@muster/core'
import { describe, expect, it } from 'vitest'
import { crossCheck, type Manifests, refusedProviders } from './check.ts'
import { parseConfig } from './load.ts'
import { plainCapabilities, plainManifest } from '../plugins/testing/manifest.ts'
import { formatProblem, sortProblems } from './problem.ts'

const capabilities: WorkerCapabilities = {
  ...plainCapabilities,
  work: ['command', 'hold'],
  fields: ['env', 'workdir', 'resources.cpu', 'resources.memoryBytes', 'network.egress.full', 'labels', 'settings'],
  exec: { reattach: true, stdin: true, tty: false, exitCode: true },
}

function manifest(name: string, over: Partial<WorkerCapabilities> = {}): WorkerPluginManifest {
  return plainManifest(name, {
    capabilities: { ...capabilities, ...over },
    config: {
      type: 'object',
      properties: { transport: { const: 'local' }, slots: { type: 'integer' } },
      additionalProperties: false,
    },
    settings: { type: 'object', properties: { zone: { type: 'string' } }, additionalProperties: false },
    secrets: ['token'],
  })
}

const noExec = manifest('noexec', { work: ['command'] })
delete noExec.capabilities.exec
const manifests: Manifests = new Map([
  ['baremetal', manifest('baremetal')],
  ['noexec', noExec],
  ['images', manifest('images', { image: 'required', fields: [...capabilities.fields, 'image'], maxLifetimeMs: 3_600_000 })],
  ['callback', manifest('callback', { callback: true })],
  ['agents', manifest('agents', { work: ['agent'] })],
  ['broken', null],
])

/** The problems of a file as `line:column: reason | fix`. */
function problemsOf(text: string): string[] {
  const loaded = parseConfig('/x/muster.yaml', text, 'muster.yaml')
  return sortProblems([...loaded.problems, ...crossCheck(loaded, manifests, { strictly: true })]).map(
    (one) => `${one.line}:${one.column}: ${one.reason} | ${one.fix}`,
  )
}

const good = `
providers:
  local: { plugin: baremetal, config: { transport: local } }
pools:
  ci:
    placement: [local]
    worker: { work: hold, lifetime: 2h, grace: 10s, resources: { cpu: 2, memory: 4Gi }, env: { CI: "true" } }
    scale: { min: 0, max: 8, warm: 1 }
`

describe('a right file', () => {
  it('has no problems and gets its defaults', () => {
    const { config, problems } = parseConfig('/x/muster.yaml', good)
    expect(problems).toEqual([])
    expect(problemsOf(good)).toEqual([])
    expect(config).toMatchObject({
      data: '/x/.muster',
      listen: { host: '127.0.0.1', port: 7420 },
      pluginsFile: '/x/plugins.json',
      limits: {},
      pools: [
        { name: 'ci', work: 'hold', lifetimeMs: 7_200_000, uses: 1, worker: { resources: { cpu: 2, memoryBytes: 4 * 2 ** 30 } } },
      ],
    })
    expect(Object.isFrozen(config?.pools[0]?.scale)).toBe(true)
  })
})

describe('a wrong file names place, reason and fix', () => {
  it.each([
    [
      'an unknown key',
      good.replace('lifetime: 2h', 'lifetme: 2h'),
      ["7:27: unknown key 'lifetme' in 'pools.ci.worker' | did you mean 'lifetime'?"],
    ],
    [
      'a duplicate key',
      good.replace('pools:', 'providers: {}\npools:'),
      [/^4:1: Map keys must be unique \| keep one of the two/],
    ],
    ['a missing section', 'providers: {}\n', [/'pools' is missing \| add it/]],
    [
      'a section with nothing under it',
      'providers:\npools: {}\n',
      [/^1:\d+: 'providers' has nothing in it \| write an object there, or take it out$/],
    ],
    ['an empty file', '', ['1:1: the file is empty | write at least one key']],
    [
      'a duration without a unit',
      good.replace('2h', '7200'),
      [/^7:\d+: 'pools.ci.worker.lifetime': a duration is text with a unit/],
    ],
    ['a misspelt provider', good.replace('[local]', '[locl]'), ["6:17: no provider is named 'locl' | did you mean 'local'?"]],
    [
      'a misspelt plugin',
      good.replace('plugin: baremetal', 'plugin: bearmetal'),
      ["3:20: no plugin has the alias 'bearmetal' | did you mean 'baremetal'?"],
    ],
    ['a provider twice in a placement', good.replace('[local]', '[local, local]'), [/^6:24: 'local' stands twice/]],
    [
      'config that fails its schema',
      good.replace('transport: local', 'slots: many'),
      [/^3:48: 'providers.local.config.slots' must be integer/],
    ],
    [
      'an unknown key of config',
      good.replace('transport: local', 'transprt: local'),
      [/^3:41: unknown key 'transprt' by the config schema of baremetal \| did you mean 'transport'\?/],
    ],
    [
      'settings that fail their schema',
      good.replace('grace: 10s', 'settings: { zone: 3 }'),
      [/'pools.ci.worker.settings.zone' must be string \(the settings schema of baremetal\)/],
    ],
    [
      'a field the provider does not honour',
      good.replace('grace: 10s', 'network: { egress: none }'),
      [/provider 'local' does not honour 'network.egress.none' \| remove it/],
    ],
    ['a mode the provider does not have', good.replace('work: hold', 'work: agent'), [/has no workers that agent/, /kept ready/]],
    ['warm above max', good.replace('warm: 1', 'warm: 9'), [/^8:36: warm 9 is more than max 8/]],
    ['a credential nobody has', `${good}    credentials: [vault]\n`, [/no credential is named 'vault'/]],
    [
      'a secret the plugin never asks for',
      good.replace('plugin: baremetal,', 'plugin: baremetal, secrets: { tokn: { env: A } },'),
      [/never asks for a secret 'tokn' \| did you mean 'token'/],
    ],
    ['a limit of nothing', `host: { limits: { burst: 0 } }\n${good}`, [/'host.limits.burst'/]],
    ['listening off loopback', `host: { listen: "0.0.0.0:7420" }\n${good}`, [/not loopback, and there is no TLS/]],
    ['listening on all of IPv6', `host: { listen: "[::]:7420" }\n${good}`, [/'::' is not loopback, and there is no TLS/]],
    [
      'an IPv4 address as one of IPv6',
      `host: { listen: "[::ffff:10.0.0.1]:7420" }\n${good}`,
      [/'::ffff:10.0.0.1' is not loopback/],
    ],
    ['IPv6 without brackets', `host: { listen: "::1:7420" }\n${good}`, [/write host:port, as 127.0.0.1:7420 or \[::1\]:7420/]],
    ['the loopback of IPv6', `host: { listen: "[::1]:7420", metrics: { listen: "[::ffff:127.0.0.1]:9464" } }\n${good}`, []],
  ])('%s', (_name, text, wanted) => {
    const found = problemsOf(text)
    expect(found).toHaveLength(wanted.length)
    for (const [index, one] of wanted.entries()) {
      if (typeof one === 'string') expect(found[index]).toBe(one)
      else expect(found[index]).toMatch(one)
    }
  })

  it('refuses a warm pool where nothing can hold', () => {
    const found = problemsOf(good.replace('plugin: baremetal', 'plugin: noexec').replace('work: hold, ', ''))
    expect(found).toHaveLength(1)
    expect(found[0]).toMatch(/^8:36: workers kept ready need hold with exec/)
  })

  it('asks for an image where one is needed, and for a shorter life', () => {
    const found = problemsOf(good.replace('plugin: baremetal', 'plugin: images'))
    expect(found.join('\n')).toMatch(/needs an image, and this pool names none/)
    expect(found.join('\n')).toMatch(/live 60 min at most/)
  })

  it('refuses a loopback url for workers that call back, and a missing one', () => {
    const base = good.replace('plugin: baremetal', 'plugin: callback')
    expect(problemsOf(base)).toEqual([expect.stringMatching(/no url says where/)])
    expect(problemsOf(base.replace('plugin: callback', 'plugin: callback, url: "http://127.0.0.1:7420"'))).toEqual([
      expect.stringMatching(/is loopback: they would call themselves/),
    ])
    expect(problemsOf(base.replace('plugin: callback', 'plugin: callback, url: "http://10.0.0.1:7420"'))).toEqual([])
  })

  it('asks where agents find the host, and lets them serve one lease each', () => {
    const base = good.replace('plugin: baremetal', 'plugin: agents').replace('work: hold', 'work: agent')
    expect(problemsOf(base)).toEqual([])
    const unknown = `host: { listen: "127.0.0.1:0" }\n${base}`
    expect(problemsOf(unknown)).toEqual([expect.stringMatching(/no url says where: the port .* \| add url/)])
    expect(problemsOf(unknown.replace('listen:', 'url: "http://127.0.0.1:9", listen:'))).toEqual([])
    expect(problemsOf(unknown.replace('plugin: agents', 'plugin: agents, url: "http://127.0.0.1:9"'))).toEqual([])
    expect(problemsOf(`${base}    uses: 2\n`)).toEqual([expect.stringMatching(/an agent serves one lease/)])
    expect(problemsOf(`${base}    keepFailed: 5m\n`)).toEqual([expect.stringMatching(/can be kept for a look where it holds/)])
  })

  it('takes host.url for providers without one, and refuses it where it is loopback', () => {
    const base = good.replace('plugin: baremetal', 'plugin: callback')
    expect(problemsOf(`host: { url: "https://muster.example/" }\n${base}`)).toEqual([])
    expect(problemsOf(`host: { url: "http://localhost:7420" }\n${base}`)).toEqual([expect.stringMatching(/^1:.*is loopback/)])
  })

  it.each([
    ['a number that is too small', 'uses: 0', /'pools.ci.uses': .* \| give at least 1$/],
    ['an empty list', 'placement: []', /'pools.ci.placement': .* \| give at least 1$/],
    ['a list that is text', 'placement: local', /'pools.ci.placement': .* \| write an array$/],
    ['an object that is text', 'scale: many', /'pools.ci.scale': .* \| write an object$/],
    ['a port that is too large', 'worker: { readiness: { tcp: 70000 } }', /tcp': .* \| give at most 65535$/],
    [
      'text of a form that is said',
      'worker: { readiness: {} }',
      /readiness': give exactly one of exec, tcp and http \| write it as said$/,
    ],
  ])('%s: what to write instead', (_name, line, wanted) => {
    const key = line.slice(0, line.indexOf(':'))
    const pool = { placement: 'placement: [local]', [key]: line }
    const found = problemsOf(`providers:\n  local: { plugin: baremetal }\npools:\n  ci: { ${Object.values(pool).join(', ')} }\n`)
    expect(found).toEqual([expect.stringMatching(wanted)])
  })

  it.each([
    ['a missing key', { required: ['host'] }, /must have required property 'host' .* \| add host$/],
    [
      'a type',
      { properties: { a: { type: ['string', 'null'] } } },
      /'providers.local.config.a' must be .* \| write string or null$/,
    ],
    ['a list of values', { properties: { a: { enum: ['x', 'y'] } } }, /\| write one of: x, y$/],
    ['one value', { properties: { a: { const: 'x' } } }, /\| write x$/],
    ['a pattern', { properties: { b: { pattern: '^x' } } }, /\| write text that matches \^x$/],
    ['a limit', { properties: { a: { minimum: 5 } } }, /\| give at least 5$/],
    ['another limit', { properties: { b: { maxLength: 3 } } }, /\| give at most 3$/],
    ['something rarer', { properties: { a: { not: {} } } }, /\| see the schema in the plugin's manifest$/],
  ])("%s of a plugin's own schema: what to write instead", (_name, schema, wanted) => {
    const strict = new Map(manifests).set('baremetal', plainManifest('strict', { config: { type: 'object', ...schema } }))
    const text = 'providers:\n  local: { plugin: baremetal, config: { a: 1, b: text } }\npools: {}\n'
    const found = crossCheck(parseConfig('/x/muster.yaml', text), strict, { strictly: false })
    expect(found.map((one) => `${one.reason} | ${one.fix}`)).toEqual([expect.stringMatching(wanted)])
  })

  it.each([
    [
      'a time beyond all time',
      good.replace('2h', '99999999999999d'),
      /'pools.ci.worker.lifetime': '99999999999999d' is longer than 3650d/,
    ],
    ['a size beyond all counting', good.replace('4Gi', '99999999999Ti'), /memory': '99999999999Ti' is no size/],
    ['a key that is none', `${good}  __proto__: { placement: [nowhere] }\n`, /^9:3: no key may be named '__proto__'/],
    ['a tag that nobody knows', good.replace('local: {', 'local: !foo {'), /Unresolved tag: !foo/],
    [
      'a name that is none',
      good.replace('  ci:', '  C I:'),
      /^5:3: 'pools.C I': a name has 1 to 40 of a-z, 0-9 and - \| rename it$/,
    ],
  ])('%s is told once', (_name, text, wanted) => {
    expect(problemsOf(text)).toEqual([expect.stringMatching(wanted)])
  })

  it('does not mistake what two parts share by an alias, and is quick with many problems', () => {
    const shared = `${good}    queue: 1m\n  other: { placement: [local], scale: &s { max: abc, warm: 20 } }\n  third: { placement: [local], scale: *s }\n`
    expect(problemsOf(shared).map((one) => one.replace(/^.*?: /, ''))).toEqual([
      expect.stringMatching(/^'pools.other.scale.max'/),
      expect.stringMatching(/^'pools.third.scale.max'/),
    ])
    const pools = Array.from({ length: 300 }, (_, n) => `  p${n}: { placement: [locl], wrong: 1 }\n`).join('')
    expect(problemsOf(`providers:\n  local: { plugin: baremetal }\npools:\n${pools}`)).toHaveLength(600)
  })

  it('tells of a union what its fitting branch says, once', () => {
    const range = { type: 'object', properties: { from: { type: 'integer', minimum: 1 } } }
    const config = { type: 'object', properties: { users: { anyOf: [{ const: 'off' }, { type: 'string' }, range] } } }
    const union = new Map(manifests).set('baremetal', plainManifest('union', { config }))
    const found = (users: string): string[] =>
      crossCheck(
        parseConfig('/x/m.yaml', `providers:\n  local: { plugin: baremetal, config: { users: ${users} } }\npools: {}\n`),
        union,
        {
          strictly: false,
        },
      ).map((one) => `${one.reason} | ${one.fix}`)
    expect(found('{ from: 0 }')).toEqual([expect.stringMatching(/users.from' must be >= 1 .* \| give at least 1$/)])
  })

  it('tells a plugin whose own schema is none', () => {
    const bad = new Map(manifests).set('baremetal', {
      ...plainManifest('bad'),
      config: { type: 'objekt' },
      settings: { minimum: 'x' },
    })
    const loaded = parseConfig('/x/muster.yaml', good.replace('grace: 10s', 'settings: {}'), 'muster.yaml')
    const reasons = (strictly: boolean) => crossCheck(loaded, bad, { strictly }).map((one) => one.reason)
    expect(reasons(true)).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^the config schema of bad is no JSON Schema/),
        expect.stringMatching(/^the settings schema of bad is no JSON Schema/),
      ]),
    )
    // What cannot be read at all is told at each start.
    expect(reasons(false)).toContainEqual(expect.stringMatching(/^the config schema of bad is no JSON Schema/))
  })

  it('names the providers whose plugin need not be started to know that they are wrong', () => {
    const text = `providers:
  right: { plugin: baremetal, config: { transport: local } }
  wrong: { plugin: baremetal, config: { transport: ssh } }
  nowhere: { plugin: baremetl }
pools: {}
`
    expect(refusedProviders(parseConfig('/x/muster.yaml', text), manifests)).toEqual(['wrong', 'nowhere'])
  })

  it('says all of it together, and nothing of a plugin that is broken anyway', () => {
    const text = good.replace('[local]', '[locl]').replace('warm: 1', 'warm: 9').replace('plugin: baremetal', 'plugin: broken')
    expect(problemsOf(text)).toHaveLength(2)
  })

  it('checks what is right of a file whose schema is not kept, and repeats nothing of what is wrong', () => {
    const text = `
host: { listen: 7420 }
providers:
  local: { plugin: bearmetal, config: { slots: many } }
  other: { plugn: noexec }
  images: { plugin: images }
pools:
  ci:
    placement: [local, other, locl]
    worker: { lifetime: 7200, imgae: x }
    scale: { warm: 20, max: many }
  plain:
    placement: [images, 7]
  last:
    placement: [images]
    worker: { imgae: x, os: linuks, lifetime: 30m }
`
    expect(problemsOf(text)).toEqual([
      "2:17: 'host.listen': Invalid input: expected string, received number | write a string",
      "4:20: no plugin has the alias 'bearmetal' | did you mean 'baremetal'?",
      "5:10: 'providers.other.plugin' is missing | add it (string)",
      "5:12: unknown key 'plugn' in 'providers.other' | did you mean 'plugin'?",
      "9:31: no provider is named 'locl' | did you mean 'local'?",
      expect.stringMatching(/^10:25: 'pools.ci.worker.lifetime': a duration is text with a unit.*\| write it as said$/),
      "10:31: unknown key 'imgae' in 'pools.ci.worker' | did you mean 'image'?",
      "11:29: 'pools.ci.scale.max': Invalid input: expected number, received string | write a number",
      "13:25: 'pools.plain.placement.1': Invalid input: expected string, received number | write a string",
      "16:15: unknown key 'imgae' in 'pools.last.worker' | did you mean 'image'?",
      expect.stringMatching(/^16:29: 'pools.last.worker.os': Invalid option.*\| write one of: linux, windows, darwin$/),
    ])
  })

  it('shows a problem as file:line:column', () => {
    const problem = { file: 'muster.yaml', line: 3, column: 9, reason: 'it is wrong', fix: 'make it right' }
    expect(formatProblem(problem)).toBe('muster.yaml:3:9: it is wrong\n    fix: make it right')
  })
})
