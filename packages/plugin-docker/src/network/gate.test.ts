import { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { callOf } from '../testing/harness.test.helper.ts'
import { id, scriptedEngine, specOf, tags } from '../testing/scripted.test.helper.ts'

const own = `muster-${id}`
const gate = `${own}-gate`
const frame = (text: string): Buffer => Buffer.concat([Buffer.from([2, 0, 0, 0, 0, 0, 0, text.length]), Buffer.from(text)])

describe('the program that sets the rules', () => {
  /** An engine whose exec says this, and is then in these states, one after the other. */
  const launch = (said: Buffer, ...states: { Running: boolean; ExitCode: number | null }[]) => {
    const scripted = scriptedEngine(({ path }) => {
      if (path === `/exec/${gate}/start`) return Readable.from([said])
      return path === `/exec/${gate}/json` ? (states.length > 1 ? states.shift() : states[0]) : undefined
    })
    const launched = scripted.provider.launch(specOf({ network: { egress: 'restricted' } }), callOf())
    return { launched, ...scripted }
  }

  test.each<[string, Buffer, { Running: boolean; ExitCode: number | null }]>([
    ['whose output breaks off', frame('all of it').subarray(0, 12), { Running: false, ExitCode: 1 }],
    ['that has ended without a code', Buffer.alloc(0), { Running: false, ExitCode: null }],
  ])('%s is to be tried again', async (...[, said, state]) => {
    const { launched, containers } = launch(said, state)
    await expect(launched).rejects.toMatchObject({ code: 'transient', effect: 'possible' })
    expect([...containers.keys()]).toEqual([own, gate])
  })

  test('that still runs when its output has ended is waited for', async () => {
    const { launched, containers } = launch(frame(''), { Running: true, ExitCode: null }, { Running: false, ExitCode: 0 })
    await launched
    expect(containers.get(own)?.status).toBe('running')
  })

  test('that fails has no worker', async () => {
    const { launched, containers } = launch(frame('unknown option'), { Running: false, ExitCode: 2 })
    const message = expect.stringContaining('unknown option') as string
    await expect(launched).rejects.toMatchObject({ code: 'unsupported', path: 'network.egress.restricted', message })
    expect(containers.size).toBe(0)
  })
})

test('a gate that an earlier launch has made lets out what its own names stand for', async () => {
  const rules: string[] = []
  const { provider, engine } = scriptedEngine(({ path, body }) => {
    if (path === `/containers/${gate}/exec`) rules.push(...(body as { Env: string[] }).Env)
  })
  const ExtraHosts = ['localhost:192.0.2.9', 'localhost:192.0.2.1', 'localhost:2001:db8::1', 'other:192.0.2.2']
  const body = { Labels: { ...tags, 'muster-part': 'gate' }, HostConfig: { ExtraHosts } }
  await engine.json({ method: 'POST', path: '/containers/create', query: { name: gate }, body, signal: callOf().signal })
  const network = { egress: 'restricted' as const, allow: ['localhost:443', '192.0.2.3'] }
  // The first is the pool's own: it says where a name is, not that it may be reached.
  await provider.launch(specOf({ network, settings: { network: { hosts: { localhost: '192.0.2.9' } } } }), callOf())
  const places = rules.join('\n').matchAll(/-d (\S+)(?: -p tcp --dport (\d+))? -j/g)
  expect([...places].map(([, place, port = '']) => `${place} ${port}`)).toEqual([
    ...['192.0.2.1 443', '192.0.2.3 ', '2001:db8::1 443'],
  ])
})
