import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Authority, makeAuthority } from '@muster/test/systems/authority'
import { findDocker } from '@muster/test/systems/docker'
import type { PoolRequest } from '@muster/core'
import { askEngine, engineJson } from '@muster/test/systems/engine'
import { ensureImage, pushImage, removeImage, tagImage } from '@muster/test/systems/images'
import { suiteWith } from '@muster/test/systems/presence'
import { findRegistry, type ImageRegistry } from '@muster/test/systems/registry'
import { startTokenServer, type TokenServer } from '@muster/test/systems/registry-tokens'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { createHarness, type Harness, type HarnessOptions } from '../testing/harness.test.helper.ts'
import { imageRulesOf, type ImagesConfig } from './image-rules.ts'
import { createLedger } from './ledger.ts'
import { createSweeper } from './sweep.ts'
import { createEngine } from '../client.ts'
import { rulesOf } from '../rules.ts'

const CANARY = 'canary-in-the-mine'

suiteWith(await findDocker(), 'images of a real registry', (docker) => {
  suiteWith(findRegistry(), 'behind TLS and a password', (start) => {
    let folder: TempFolder
    let authority: Authority
    let registry: ImageRegistry
    let images: string[] = []
    const harnesses: Harness[] = []
    beforeAll(async () => {
      folder = await tempFolder('images')
      authority = await makeAuthority(folder.path, 'registry')
      registry = await start({ password: CANARY, tls: await authority.issue('registry', ['IP:127.0.0.1']) })
    })
    afterEach(async () => {
      for (const harness of harnesses.splice(0)) await harness.clean()
      for (const image of images) await removeImage(docker.socket, image)
      images = []
    })
    afterAll(async () => {
      await registry.stop()
      await folder.remove()
    })

    /** Pushes the test image under a name of its own, and forgets it here. */
    async function pushed(name: string, at: ImageRegistry = registry): Promise<{ image: string; digest: string }> {
      const image = `${at.host}/${name}`
      images.push(image)
      await tagImage(docker.socket, await ensureImage(docker.socket, 'busybox'), image)
      const digest = await pushImage(docker.socket, image, at.engineAuth)
      await removeImage(docker.socket, image)
      return { image, digest }
    }
    /** Of a content that no other image has, and still here. */
    async function made(name: string): Promise<string> {
      const image = `${registry.host}/${name}`
      images.push(image)
      const body = { Image: await ensureImage(docker.socket, 'busybox') }
      const { Id } = await engineJson<{ Id: string }>(docker.socket, { method: 'POST', path: '/containers/create', body })
      const [repo, tag] = [image.slice(0, image.lastIndexOf(':')), image.slice(image.lastIndexOf(':') + 1)]
      const query = { container: Id, repo, tag, changes: `LABEL made-for=${image}` }
      const commit = { method: 'POST', path: '/commit', query, body: {} } as const
      // By its id it goes with whatever digests it was pulled by.
      images.push((await engineJson<{ Id: string }>(docker.socket, commit)).Id)
      await engineJson(docker.socket, { method: 'DELETE', path: `/containers/${Id}` })
      await pushImage(docker.socket, image, registry.engineAuth)
      return image
    }
    const loginOf = (at: ImageRegistry, login: object): HarnessOptions => ({
      images: { logins: [at.host] },
      secrets: { 'registry-logins': JSON.stringify({ auths: { [at.host]: login } }) },
    })
    const withPassword = (password: string = CANARY, more: HarnessOptions = {}): HarnessOptions => {
      const auth = Buffer.from(`${registry.user}:${password}`).toString('base64')
      const login = loginOf(registry, { auth })
      return { ...login, ...more, images: { ...login.images, ...more.images } }
    }
    const harnessOf = async (options: HarnessOptions): Promise<Harness> => {
      const harness = await createHarness(docker.socket, options)
      harnesses.push(harness)
      return harness
    }

    test('a login is passed on and shows nowhere: in no log, error, list of pulled images, container or image', async () => {
      const { image } = await pushed('private:1')
      const dataDir = join(folder.path, 'data')
      const lines: string[] = []
      const harness = await harnessOf(withPassword(CANARY, { dataDir }))
      const call = harness.call({ log: (line) => lines.push(line) })
      const spec = harness.spec({ image })
      await harness.provider.launch(spec, call)
      expect((await harness.exit(spec.id)).code).toBe(0)
      const wrong = await harnessOf(withPassword(`${CANARY}-wrong`))
      await removeImage(docker.socket, (await pushed('private:2')).image)
      const refused = await wrong.provider.launch(wrong.spec({ image: `${registry.host}/private:2` }), wrong.call()).then(
        () => expect.unreachable(),
        (error: unknown) => error as Error,
      )
      expect(refused).toMatchObject({ code: 'auth', effect: 'none', path: 'image' })
      const list = join(dataDir, 'images')
      const kept = await Promise.all((await readdir(list)).map((name) => readFile(join(list, name), 'utf8')))
      const seen = [
        ...lines,
        refused.message,
        String(refused.stack),
        ...kept,
        JSON.stringify(await engineJson(docker.socket, { path: `/containers/muster-${spec.id}/json` })),
        JSON.stringify(await engineJson(docker.socket, { path: `/images/${image}/json` })),
      ].join('\n')
      expect(seen).toContain('private')
      for (const form of [CANARY, Buffer.from(`${registry.user}:${CANARY}`).toString('base64').slice(0, 20)])
        expect(seen).not.toContain(form)
    })

    test('a digest is one content, whatever becomes of the tag; `always` follows the tag, `never` pulls nothing', async () => {
      const { image, digest } = await pushed('moving:1')
      const pinned = `${registry.host}/moving@${digest}`
      images.push(pinned)
      const harness = await harnessOf(withPassword())
      const first = harness.hold({ image })
      await harness.provider.launch(first, harness.call())
      const second = await made('second:1')
      await tagImage(docker.socket, second, image)
      await pushImage(docker.socket, image, registry.engineAuth)
      await harness.gone(first.id, 0)
      await tagImage(docker.socket, await ensureImage(docker.socket, 'busybox'), image)
      const contentOf = async (spec: { id: string }): Promise<string> =>
        (await engineJson<{ Image: string }>(docker.socket, { path: `/containers/muster-${spec.id}/json` })).Image
      const idOf = async (name: string): Promise<string> =>
        (await engineJson<{ Id: string }>(docker.socket, { path: `/images/${name}/json` })).Id
      const launched = async (parts: object): Promise<string> => {
        const spec = harness.hold(parts)
        await harness.provider.launch(spec, harness.call())
        const content = await contentOf(spec)
        await harness.gone(spec.id, 0)
        return content
      }
      const [busybox, other] = [await idOf('muster-test/busybox:1'), await idOf(second)]
      expect(await launched({ image: pinned })).toBe(busybox)
      expect(await launched({ image })).toBe(busybox)
      expect(await launched({ image, settings: { pull: 'always' } })).toBe(other)
      await removeImage(docker.socket, image)
      const never = harness.provider.launch(harness.hold({ image, settings: { pull: 'never' } }), harness.call())
      await expect(never).rejects.toMatchObject({ code: 'unsupported', effect: 'none', path: 'image', retryAfterMs: 5000 })
      const wrong = harness.provider.launch(harness.hold({ image, settings: { pull: 'sometimes' } }), harness.call())
      await expect(wrong).rejects.toMatchObject({ code: 'invalid-spec', effect: 'none', path: 'settings.pull' })
    })

    test('a mirror stands for a registry that cannot be reached', async () => {
      await pushed('mirrored/tool:1')
      images.push('nowhere.invalid/tool:1')
      const harness = await harnessOf(
        withPassword(CANARY, { images: { mirrors: { 'nowhere.invalid': `${registry.host}/mirrored` } } }),
      )
      const { exit } = await harness.run(harness.spec({ image: 'nowhere.invalid/tool:1' }))
      expect(exit.code).toBe(0)
      const { RepoTags: names } = await engineJson<{ RepoTags: string[] }>(docker.socket, {
        path: '/images/nowhere.invalid/tool:1/json',
      })
      expect(names.filter((name) => name.startsWith(registry.host))).toEqual([])
    })

    test('the images of a pool, its services and its gate are there before its first worker; one that cannot be pulled is the launch’s to tell', async () => {
      const [own, service, gate] = [await pushed('ahead:1'), await pushed('beside:1'), await pushed('gate:1')]
      const harness = await harnessOf({ ...withPassword(), rules: rulesOf({ firewall: { image: gate.image } }, docker.socket) })
      const tags = { 'muster-owner': harness.owner, 'muster-provider': 'docker', 'muster-pool': 'pool' }
      const here = async (): Promise<boolean[]> =>
        Promise.all(
          [own, service, gate].map(
            async ({ image }) => (await askEngine(docker.socket, { path: `/images/${image}/json` })).status === 200,
          ),
        )
      const lines: string[] = []
      const prepare = (parts: Partial<PoolRequest>) =>
        harness.provider.preparePool({ pool: 'pool', tags, ...parts }, harness.call({ log: (line) => lines.push(line) }))
      await prepare({ image: own.image, serviceImages: [service.image], egress: 'restricted', settings: { pull: 'never' } })
      expect(await here()).toEqual([false, false, false])
      // One that nobody has holds up none of the others.
      const services = [`${registry.host}/none:1`, service.image]
      const open = await prepare({ image: own.image, serviceImages: services, egress: 'full' })
      expect(await here()).toEqual([true, true, false])
      expect(lines.filter((line) => line.includes("a pool's image could not be pulled ahead"))).toEqual([
        expect.stringContaining('/none:1'),
      ])
      const closed = await prepare({ image: own.image, serviceImages: services, egress: 'restricted' })
      expect(await here()).toEqual([true, true, true])
      expect(closed.digest).not.toBe(open.digest)
      expect(await prepare({ image: own.image, serviceImages: services, egress: 'restricted' })).toEqual(closed)
    })

    test('what this provider pulled goes when it is old and unused, or too much; what a container uses, and what is a stranger’s, stays', async () => {
      const dataDir = join(folder.path, 'sweep')
      const harness = await harnessOf(withPassword(CANARY, { dataDir }))
      const [ours, used, theirs] = [await made('ours:1'), await made('used:1'), await made('theirs:1')]
      for (const image of [ours, used]) await removeImage(docker.socket, image)
      for (const image of [ours, theirs]) {
        const spec = harness.hold({ image, settings: { pull: 'always' } })
        await harness.provider.launch(spec, harness.call())
        await harness.gone(spec.id, 0)
      }
      const holding = harness.hold({ image: used })
      await harness.provider.launch(holding, harness.call())
      const engine = createEngine({ socketPath: docker.socket })
      /** As another process of the plugin would, so many days later. */
      const sweepAfter = async (days: number, images: ImagesConfig = { unusedFor: '1d' }): Promise<string[]> => {
        const parts = { ledger: createLedger(dataDir, () => {}), rules: imageRulesOf(images) }
        return createSweeper(engine, { ...parts, now: () => Date.now() + days * 86_400_000 }).sweep(AbortSignal.timeout(60_000))
      }
      expect(await sweepAfter(0.5)).toEqual([])
      expect(await sweepAfter(2)).toEqual([ours])
      expect(await sweepAfter(4, { budget: '1KiB' })).toEqual([])
      await harness.gone(holding.id, 0)
      // Just used, it is left alone.
      expect(await sweepAfter(4, { budget: '1KiB' })).toEqual([])
      expect(await sweepAfter(5, { budget: '1GiB' })).toEqual([])
      expect(await sweepAfter(5, { budget: '1KiB' })).toEqual([used])
      engine.close()
      const here = async (image: string): Promise<unknown> =>
        engineJson(docker.socket, { path: `/images/${image}/json` }).then(
          () => 'here',
          () => 'gone',
        )
      expect([await here(ours), await here(used), await here(theirs)]).toEqual(['gone', 'gone', 'here'])
    })

    test('a registry with tokens: by password, and by a refresh token instead of one', async () => {
      const signer = await authority.issue('tokens', ['DNS:tokens.test'])
      const login = { user: 'tester', password: CANARY }
      const tokens: TokenServer = await startTokenServer({ ...login, ...signer })
      const other = await start({ ...login, tokens: { ...tokens, cert: signer.cert } })
      try {
        const { image } = await pushed('tool:1', other)
        for (const own of [{ username: 'tester', password: CANARY }, { identitytoken: tokens.refreshToken }]) {
          await removeImage(docker.socket, image)
          const harness = await harnessOf(loginOf(other, own))
          expect((await harness.run(harness.spec({ image }))).exit.code).toBe(0)
          await harness.clean()
        }
        expect(tokens.asked.filter(({ by, ok }) => by === 'refresh' && ok).length).toBeGreaterThan(0)
        await removeImage(docker.socket, image)
        const stranger = await harnessOf({})
        const launching = stranger.provider.launch(stranger.spec({ image }), stranger.call())
        await expect(launching).rejects.toMatchObject({ code: 'auth', effect: 'none', path: 'image' })
      } finally {
        await other.stop()
        await tokens.stop()
      }
    })
  })
})
