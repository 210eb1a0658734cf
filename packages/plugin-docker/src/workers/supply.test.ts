import type { LaunchSpec } from '@muster/core'
import { expect, test } from 'vitest'
import { EngineFailure } from '../errors.ts'
import { callOf } from '../testing/harness.test.helper.ts'
import type { Puller } from '../images/image.ts'
import { createSupply } from './supply.ts'

/** A puller whose engine has some images; a pull brings others, or fails. */
function fakePuller(there: string[], failure?: Error): { puller: Puller; asked: string[] } {
  const asked: string[] = []
  const puller: Puller = {
    has: (image) => Promise.resolve(there.includes(image)),
    used: (image) => Promise.resolve(void asked.push(`used ${image}`)),
    nameHere: (image) => `mirror/${image}`,
    pull({ image }) {
      asked.push(`pull ${image}`)
      return failure === undefined ? Promise.resolve() : Promise.reject(failure)
    },
  }
  return { puller, asked }
}

const working = (pull?: string): { spec: LaunchSpec; call: ReturnType<typeof callOf>; doomed: AbortSignal } => ({
  spec: { settings: pull === undefined ? undefined : { pull } } as unknown as LaunchSpec,
  call: callOf(),
  doomed: new AbortController().signal,
})

test.each<[policy: string | undefined, image: string, there: boolean, asked: string[]]>([
  [undefined, 'db', true, ['used db']],
  [undefined, 'db', false, ['pull db', 'used db']],
  ['missing', 'db', false, ['pull db', 'used db']],
  ['always', 'db', true, ['pull db', 'used db']],
  ['always', 'db@sha256:ab', true, ['used db@sha256:ab']],
  ['always', 'db@sha256:ab', false, ['pull db@sha256:ab', 'used db@sha256:ab']],
  ['never', 'db', true, ['used db']],
])('a helper of a pool that pulls %s, image %s, there: %j', async (...[policy, image, there, expected]) => {
  const { puller, asked } = fakePuller(there ? [image] : [])
  expect(await createSupply(puller)({ image, at: 'services.0.image' }, working(policy))).toBe(`mirror/${image}`)
  expect(asked).toEqual(expected)
})

test.each([
  ['services.0.image', 'services.0.image'],
  [undefined, 'network.egress.restricted'],
])('one that is not there, of a pool that pulls none, is refused at %s', async (at, path) => {
  const { puller, asked } = fakePuller([])
  const wanted = { image: 'db', ...(at === undefined ? {} : { at }) }
  await expect(createSupply(puller)(wanted, working('never'))).rejects.toMatchObject({
    code: 'unsupported',
    effect: 'none',
    path,
    // Only as long as it is not there: whoever asks waits.
    retryAfterMs: 5000,
  })
  expect(asked).toEqual([])
})

test.each([
  ['services.0.image', 'services.0.image'],
  [undefined, undefined],
])('a failed pull names the field that the image is in: %s', async (at, path) => {
  const { puller } = fakePuller([], new EngineFailure('manifest unknown', { status: 404, sent: true }))
  const wanted = { image: 'db', ...(at === undefined ? {} : { at }) }
  const error: unknown = await createSupply(puller)(wanted, working()).catch((reason: unknown) => reason)
  expect(error).toMatchObject({ code: 'invalid-spec', effect: 'none' })
  expect((error as { path?: string }).path).toBe(path)
})

test('what only the state of the machine is in the way of is that of a helper too: it says when to try again', async () => {
  const { puller } = fakePuller(
    [],
    new EngineFailure('x509: certificate signed by unknown authority', { status: 500, sent: true }),
  )
  await expect(createSupply(puller)({ image: 'db', at: 'services.0.image' }, working())).rejects.toMatchObject({
    code: 'unsupported',
    path: 'services.0.image',
    retryAfterMs: 5000,
  })
})

test('a terminate ends the wait', async () => {
  const { puller } = fakePuller([])
  let given: AbortSignal | undefined
  const waiting: Puller = { ...puller, pull: (_request, { signal }) => ((given = signal), Promise.resolve()) }
  const doom = new AbortController()
  await createSupply(waiting)({ image: 'db' }, { ...working(), doomed: doom.signal })
  doom.abort()
  expect(given?.aborted).toBe(true)
})
