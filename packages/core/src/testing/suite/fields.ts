/** Every field of a launch spec: seen inside the worker, or refused by its path. */
import assert from 'node:assert/strict'
import { type LaunchSpec, type SpecField, specFields } from '../../spec.ts'
import { maxInlineBytes } from '../../wire/limits.ts'
import type { Bench } from './bench.ts'
import { fails, inspected, printedInside } from './help.ts'
import type { FieldCheck } from './setup.ts'
import type { SuiteTest } from './test.ts'

/** A value of each field: for refusals, and where the setup has no better one. */
const samples: Record<SpecField, Partial<LaunchSpec>> = {
  'work.inputs': {
    work: {
      mode: 'command',
      command: ['true'],
      inputs: [{ name: 'in', path: 'in', url: 'http://127.0.0.1:9/in', sha256: '0'.repeat(64), bytes: 0 }],
    },
  },
  'work.outputs': {
    work: {
      mode: 'command',
      command: ['true'],
      outputs: [{ name: 'out', path: 'out', url: 'http://127.0.0.1:9/out', maxBytes: 1 }],
    },
  },
  image: { image: 'none' },
  profile: { profile: 'none' },
  env: { env: { MUSTER_CONFORMANCE: 'yes' } },
  workdir: { workdir: 'elsewhere' },
  files: { files: [{ path: 'a-file', base64: Buffer.from('content').toString('base64') }] },
  'resources.cpu': { resources: { cpu: 0.5 } },
  'resources.memoryBytes': { resources: { memoryBytes: 64 * 1024 * 1024 } },
  'resources.diskBytes': { resources: { diskBytes: 64 * 1024 * 1024 } },
  'resources.pids': { resources: { pids: 50 } },
  'resources.gpus': { resources: { gpus: 1 } },
  os: { os: 'linux' },
  arch: { arch: process.arch === 'arm64' ? 'arm64' : 'amd64' },
  'mounts.bind': { mounts: [{ target: '/mnt/bind', source: { kind: 'bind', path: '/tmp' } }] },
  'mounts.volume': { mounts: [{ target: '/mnt/volume', source: { kind: 'volume', name: 'a-volume' } }] },
  'mounts.tmpfs': { mounts: [{ target: '/mnt/tmpfs', source: { kind: 'tmpfs', bytes: 1024 * 1024 } }] },
  'network.egress.none': { network: { egress: 'none' } },
  'network.egress.restricted': { network: { egress: 'restricted' } },
  'network.egress.full': { network: { egress: 'full' } },
  'network.allow': { network: { allow: ['127.0.0.1:80'] } },
  'network.ports': { network: { ports: [8080] } },
  'security.user': { security: { user: '12345:12345' } },
  'security.readOnlyRoot': { security: { readOnlyRoot: true } },
  'security.noNewPrivileges': { security: { noNewPrivileges: true } },
  'security.privileged': { security: { privileged: true } },
  'security.capabilitiesAdd': { security: { capabilitiesAdd: ['NET_ADMIN'] } },
  'security.capabilitiesDrop': { security: { capabilitiesDrop: ['CHOWN'] } },
  lifetimeMs: { lifetimeMs: 60_000 },
  readiness: { readiness: { check: { kind: 'exec', command: ['true'] }, intervalMs: 100, timeoutMs: 1000, failures: 1 } },
  services: { services: [{ name: 'a-service', image: 'none' }] },
  labels: { labels: { colour: 'blue' } },
  credentials: { credentials: [{ name: 'a-credential', as: { env: 'A_CREDENTIAL' }, via: 'native' }] },
  settings: { settings: {} },
}

/** Seen by tests of their own. */
const elsewhere: readonly SpecField[] = ['work.inputs', 'work.outputs', 'lifetimeMs', 'readiness']

const usual: Partial<Record<SpecField, FieldCheck>> = {
  env: { spec: samples.env, script: 'echo "$MUSTER_CONFORMANCE"', expect: /^yes$/m },
  files: { spec: samples.files, script: 'cat a-file', expect: /^content/ },
  workdir: { spec: samples.workdir, script: 'pwd', expect: /elsewhere$/m },
}

async function lookInside(bench: Bench, field: SpecField): Promise<string | undefined> {
  const check = bench.setup.fields?.[field] ?? usual[field]
  if (check === undefined) return `${field}: declared, and the setup has no check of it`
  const { spec, script, look, expect } = check
  let seen: string
  try {
    if (look === undefined) seen = await printedInside(bench, script ?? 'exit 1', spec)
    else {
      const session = await bench.session()
      const launchSpec = bench.lasting(spec)
      await session.launch(launchSpec)
      seen = await look(launchSpec.id, bench)
    }
  } catch (error) {
    return `${field}: ${error instanceof Error ? error.message : String(error)}`
  }
  const fits = typeof expect === 'string' ? seen.trim() === expect : expect.test(seen)
  return fits ? undefined : `${field}: ${JSON.stringify(seen)} is not ${String(expect)}`
}

/** The spec with the field, without what the suite itself adds to every spec. */
function refusedSpec(bench: Bench, field: SpecField): LaunchSpec {
  const {
    work = bench.declares('work:hold') ? { mode: 'hold' as const } : { mode: 'command' as const, command: ['true'] },
    ...rest
  } = samples[field]
  return bench.spec(work, rest)
}

async function refusal(bench: Bench, field: SpecField): Promise<string | undefined> {
  const session = await bench.session()
  const spec = refusedSpec(bench, field)
  try {
    await fails(field, session.launch(spec), { code: 'unsupported', effect: 'none', path: field })
    assert.equal(await inspected(session, { id: spec.id }), undefined, `${field}: a worker after the refusal`)
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** In small groups: a vendor is not to be flooded. */
async function eachOf(fields: readonly SpecField[], look: (field: SpecField) => Promise<string | undefined>): Promise<void> {
  const found: (string | undefined)[] = []
  for (let at = 0; at < fields.length; at += 4) found.push(...(await Promise.all(fields.slice(at, at + 4).map(look))))
  const faults = found.filter((fault) => fault !== undefined)
  assert.deepEqual(faults, [], faults.join('\n'))
}

// Line ends, quotes, other scripts, nothing at all, and what a shell would take for its own.
const awkward: Record<string, string> = {
  EMPTY: '',
  LINES: 'one\ntwo\n',
  QUOTES: `it's "so" \`pwd\` $HOME \\ %s`,
  WORDS: 'grüße 世界 🙂',
  SPACES: '  a  b\t',
}

export const fieldTests: readonly SuiteTest[] = [
  {
    name: 'every declared field is seen inside the worker',
    async run(bench) {
      const declared = specFields.filter((field) => bench.declares(`field:${field}`) && !elsewhere.includes(field))
      await eachOf(declared, (field) => lookInside(bench, field))
    },
  },
  {
    name: 'every field that is not declared is refused by its path',
    async run(bench) {
      const needsCommand: readonly SpecField[] = ['work.inputs', 'work.outputs']
      const undeclared = specFields.filter(
        (field) => !bench.declares(`field:${field}`) && (bench.declares('work:command') || !needsCommand.includes(field)),
      )
      await eachOf(undeclared, (field) => refusal(bench, field))
    },
  },
  {
    name: 'env arrives byte for byte',
    needs: ['field:env'],
    async run(bench) {
      const script = Object.keys(awkward)
        .map((name) => `printf '%s' "$${name}"; printf '\\001'`)
        .join('; ')
      assert.deepEqual((await printedInside(bench, script, { env: awkward })).split('\u0001'), [...Object.values(awkward), ''])
    },
  },
  {
    name: 'files arrive byte for byte, with their mode',
    needs: ['field:files'],
    async run(bench) {
      const content = Buffer.from(Array.from({ length: 256 }, (_one, byte) => byte))
      const files = [
        { path: 'deep/er/binary', base64: content.toString('base64'), mode: 0o640 },
        { path: 'script', base64: Buffer.from('#!/bin/sh\necho ran\n').toString('base64'), mode: 0o755 },
        { path: 'empty', base64: '' },
      ]
      const script =
        'od -An -v -tx1 deep/er/binary; for one in deep/er/binary script empty; do ls -l $one | cut -c1-10; done; ./script; wc -c <empty'
      const printed = await printedInside(bench, script, { files })
      const words = printed.trim().split(/\s+/)
      assert.deepEqual(words.slice(0, 256).join(''), content.toString('hex'), 'the binary file')
      assert.deepEqual(
        words.slice(256),
        ['-rw-r-----', '-rwxr-xr-x', '-rw-------', 'ran', '0'],
        'modes, and what the script prints',
      )
    },
  },
  {
    name: 'env beyond the declared size is refused by its path',
    needs: ['field:env'],
    async run(bench) {
      const { envBytes } = bench.capabilities
      // More than this never reaches a plugin: the host refuses it.
      if (envBytes >= maxInlineBytes) return
      const spec = bench.spec(bench.declares('work:hold') ? { mode: 'hold' } : { mode: 'command', command: ['true'] }, {
        env: { BIG: 'x'.repeat(envBytes) },
      })
      await fails('too much env', (await bench.session()).launch(spec), { code: 'invalid-spec', effect: 'none', path: 'env' })
    },
  },
  {
    name: 'a missing image is refused by its path where one is required',
    needs: ['image:required'],
    async run(bench) {
      const { image: _image, ...spec } = bench.spec(
        bench.declares('work:hold') ? { mode: 'hold' } : { mode: 'command', command: ['true'] },
      )
      await fails('no image', (await bench.session()).launch(spec), { code: 'invalid-spec', effect: 'none', path: 'image' })
    },
  },
]
