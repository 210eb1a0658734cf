import { Readable } from 'node:stream'
import type { LaunchSpec } from '@muster/core'
import * as tar from 'tar-stream'
import { expect, test } from 'vitest'
import type { EngineRequest } from '../client.ts'
import { callOf } from '../testing/harness.test.helper.ts'
import { failure, id, scriptedEngine, specOf, tags } from '../testing/scripted.test.helper.ts'

const FOLDER = 2 ** 31

/** The archive calls of an engine whose images have a shell, and a `/` of this mode. */
function archive({ rootMode, asked }: { rootMode: number; asked: string[] }): (request: EngineRequest) => unknown {
  return ({ method, path, query }) => {
    if (!path.endsWith('/archive')) return undefined
    asked.push(`${method} ${String(query?.['path'])}`)
    if (method === 'GET') {
      const pack = tar.pack()
      pack.entry({ name: 'passwd' }, 'root:x:0:0::/:/bin/sh\nci:x:1000:1000::/:/bin/sh\n')
      pack.finalize()
      return Readable.from(pack as AsyncIterable<Uint8Array>)
    }
    const stat = { mode: FOLDER + rootMode, mtime: '2026-01-01T00:00:00Z' }
    const headers = { 'x-docker-container-path-stat': Buffer.from(JSON.stringify(stat)).toString('base64') }
    return Object.assign(Readable.from([]), { headers })
  }
}

test('a mount that hides the shell of an image hides it of its own worker alone', async () => {
  const asked: string[] = []
  const answers = archive({ rootMode: 0o755, asked })
  let hidden = true
  const { provider } = scriptedEngine((request) => {
    const shell = request.path.endsWith('/archive') && String(request.query?.['path']) === '/bin/sh'
    if (shell && hidden) throw failure(404, 'Could not find the file /bin/sh')
    return answers(request)
  })
  const launch = (index: number, parts: Partial<LaunchSpec>) => {
    const own = `${id.slice(0, -1)}${index}`
    const spec = specOf({ id: own, tags: { ...tags, 'muster-worker': own }, work: { mode: 'hold' }, ...parts })
    return provider.launch(spec, callOf())
  }
  const mounts = [{ target: '/bin', source: { kind: 'tmpfs' as const } }]
  await expect(launch(0, { mounts })).rejects.toMatchObject({ code: 'unsupported' })
  hidden = false
  await launch(1, {})
})

async function launches(specs: readonly Partial<LaunchSpec>[], rootMode: number): Promise<string[][]> {
  let asked: string[] = []
  const { provider } = scriptedEngine((request) => archive({ rootMode, asked })(request))
  const seen: string[][] = []
  for (const [index, parts] of specs.entries()) {
    asked = []
    const own = `${id.slice(0, -1)}${index}`
    const spec = specOf({ id: own, tags: { ...tags, 'muster-worker': own }, work: { mode: 'hold' }, ...parts })
    await provider.launch(spec, callOf())
    seen.push(asked)
  }
  return seen
}

const look = ['HEAD /bin/sh', 'HEAD /']
const ci = { security: { user: 'ci' } }

test.each<[string, number, Partial<LaunchSpec>, string[], string[]]>([
  ['root makes the folder itself', 0o755, {}, look, []],
  ['it is put where not even root may write', 0o555, {}, [...look, 'PUT /'], ['PUT /']],
  ['root with what the engine gives it may write anywhere', 0o555, { settings: { capabilities: 'engine' } }, look, []],
  ["a user's accounts are read once for an image", 0o755, ci, [...look, 'GET /etc/passwd', 'PUT /'], ['PUT /']],
])('%s', async (...[, mode, parts, first, second]) => {
  expect(await launches([parts, parts], mode)).toEqual([first, second])
})

test("accounts that a mount brings are not the image's, and of each user there is one", async () => {
  const mounts = [{ target: '/etc/', source: { kind: 'tmpfs' as const } }]
  const read = ['GET /etc/passwd', 'PUT /']
  const seen = await launches([ci, { ...ci, mounts }, { ...ci, mounts }, { security: { user: '1000' } }, ci], 0o755)
  expect(seen).toEqual([[...look, ...read], read, read, read, ['PUT /']])
})
