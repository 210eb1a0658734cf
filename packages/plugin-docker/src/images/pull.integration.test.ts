import { findDocker } from '@muster/test/systems/docker'
import { ensureImage, pushImage, removeImage, tagImage } from '@muster/test/systems/images'
import { suiteWith } from '@muster/test/systems/presence'
import { findRegistry, type ImageRegistry } from '@muster/test/systems/registry'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { busybox, callOf, createHarness, type Harness } from '../testing/harness.test.helper.ts'
import { type OpenRegistry, startOpenRegistry } from '../testing/registry.test.helper.ts'

suiteWith(await findDocker(), 'pulling an image into a real engine', (docker) => {
  let harness: Harness
  let registry: OpenRegistry
  let images: string[] = []
  beforeAll(async () => {
    harness = await createHarness(docker.socket)
  })
  beforeEach(async () => {
    // Another registry for each test is another image: layers that an engine has are not asked for again.
    registry = await startOpenRegistry(docker.socket, busybox)
    return async () => {
      await harness.clean()
      for (const image of images) await removeImage(docker.socket, image)
      images = []
      await registry.stop()
    }
  })
  afterAll(() => harness.clean())

  const imageOf = (name: string): string => {
    images.push(`${registry.host}/${name}`)
    return `${registry.host}/${name}`
  }
  const manifests = (): number => registry.asked.filter((path) => path.includes('/manifests/')).length

  test('a missing image is pulled from a registry on a local port, without tag as latest', async () => {
    const { exit } = await harness.run(harness.spec({ image: imageOf('team/tool') }))
    expect(exit.code).toBe(0)
    expect(registry.asked.some((path) => path.endsWith('/v2/team/tool/manifests/latest'))).toBe(true)
  })

  test('many launches that miss the same image are one pull', async () => {
    const image = imageOf('tool:1')
    await Promise.all(Array.from({ length: 8 }, () => harness.provider.launch(harness.spec({ image }), callOf())))
    expect(manifests()).toBeLessThanOrEqual(2)
  })

  test('progress is told, and a deadline ends the pull with nothing made', async () => {
    registry.layers = { bytesPerSecond: 50_000 }
    const lines: string[] = []
    const spec = harness.spec({ image: imageOf('slow:1') })
    const launching = harness.provider.launch(spec, callOf({ timeoutMs: 10_000, log: (line) => lines.push(line) }))
    await expect(launching).rejects.toMatchObject({ code: 'deadline', effect: 'none' })
    expect(lines.some((line) => /pulling an image .*"totalBytes":\d{5}/.test(line))).toBe(true)
    expect(await harness.left()).toEqual([])
  })

  test('one waiter giving up does not end the pull of another', async () => {
    registry.layers = { bytesPerSecond: 400_000 }
    const image = imageOf('shared:1')
    const patient = harness.provider.launch(harness.spec({ image }), callOf())
    const hasty = harness.provider.launch(harness.spec({ image }), callOf({ timeoutMs: 500 }))
    await expect(hasty).rejects.toMatchObject({ code: 'deadline', effect: 'none' })
    await expect(patient).resolves.toMatchObject({ handle: { v: 1 } })
    expect(manifests()).toBeLessThanOrEqual(2)
  })

  test('a terminate ends a launch that is pulling', async () => {
    registry.layers = 'hang'
    const spec = harness.spec({ image: imageOf('hang:1') })
    const launching = harness.provider.launch(spec, callOf())
    launching.catch(() => {})
    await waitFor('the layer to be asked for', () => registry.asked.some((path) => path.includes('/blobs/')))
    const terminated = await harness.provider.terminate({ id: spec.id }, { graceMs: 0, force: false, reason: 'test' }, callOf())
    expect(terminated).toEqual({ state: 'gone' })
    await expect(launching).rejects.toMatchObject({ code: 'cancelled', effect: 'none' })
  })

  test.each([
    [
      'a tag that is not there',
      404,
      { errors: [{ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown' }] },
      { code: 'invalid-spec', path: 'image' },
    ],
    [
      'a repository that is not there',
      404,
      { errors: [{ code: 'NAME_UNKNOWN', message: 'repository name not known to registry' }] },
      { code: 'invalid-spec', path: 'image' },
    ],
    [
      'a limit',
      429,
      { errors: [{ code: 'TOOMANYREQUESTS', message: 'You have reached your pull rate limit' }] },
      { code: 'throttled', scope: 'launch' },
    ],
    [
      'a login that is missing',
      401,
      { errors: [{ code: 'UNAUTHORIZED', message: 'authentication required' }] },
      { code: 'auth', path: 'image' },
    ],
    ['a registry in trouble', 503, { errors: [{ code: 'UNAVAILABLE', message: 'service unavailable' }] }, { code: 'transient' }],
  ] as const)('%s', async (...[name, status, body, expected]) => {
    registry.refuse = { status, body }
    const spec = harness.spec({ image: imageOf(`${name.replaceAll(' ', '-')}:1`) })
    await expect(harness.provider.launch(spec, callOf())).rejects.toMatchObject({ ...expected, effect: 'none' })
    expect(await harness.left()).toEqual([])
  })

  test.each<[string, { arch?: 'amd64' | 'arm64' }]>([
    ['whichever is asked for', {}],
    ["where the engine's own is asked for", { arch: process.arch === 'arm64' ? 'arm64' : 'amd64' }],
  ])('an image of other processors alone is refused, %s', async (name, parts) => {
    registry.only = 's390x'
    const spec = harness.spec({ image: imageOf(`other-${name.length}:1`), ...parts })
    await expect(harness.provider.launch(spec, callOf())).rejects.toMatchObject({
      ...{ code: 'unsupported', path: 'arch', effect: 'none' },
      message: expect.stringContaining('no matching manifest for linux/') as string,
    })
    expect(await harness.left()).toEqual([])
    // What is listed for this one too is pulled.
    registry.only = process.arch === 'x64' ? 'amd64' : process.arch
    expect((await harness.run(harness.spec({ image: spec.image ?? '', ...parts }))).exit.code).toBe(0)
  })

  test('a failure in the middle of the stream, after status 200, is a failure', async () => {
    registry.layers = 'corrupt'
    const launching = harness.provider.launch(harness.spec({ image: imageOf('corrupt:1') }), callOf())
    await expect(launching).rejects.toMatchObject({ code: 'transient', effect: 'none' })
    expect(await harness.left()).toEqual([])
  })

  test('a registry that nobody runs is a passing trouble', async () => {
    const image = imageOf('gone:1')
    await registry.stop()
    await expect(harness.provider.launch(harness.spec({ image }), callOf())).rejects.toMatchObject({
      code: 'transient',
      effect: 'none',
    })
  })
})

suiteWith(await findDocker(), 'an image behind a password', (docker) => {
  suiteWith(findRegistry(), 'in a real registry', (start) => {
    let harness: Harness
    let registry: ImageRegistry
    beforeAll(async () => {
      harness = await createHarness(docker.socket)
      registry = await start()
    })
    afterAll(async () => {
      await registry.stop()
      await harness.clean()
    })

    test('is `auth`, though the engine says status 500', async () => {
      const image = `${registry.host}/private:1`
      await tagImage(docker.socket, await ensureImage(docker.socket, 'busybox'), image)
      await pushImage(docker.socket, image, registry.engineAuth)
      await removeImage(docker.socket, image)
      const launching = harness.provider.launch(harness.spec({ image }), callOf())
      await expect(launching).rejects.toMatchObject({ code: 'auth', effect: 'none', path: 'image' })
    })
  })
})
