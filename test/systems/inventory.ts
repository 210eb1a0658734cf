/** Everything an engine holds, in lines that can be compared: what a test has left behind stands in the difference. */
import { engineJson } from './engine.ts'
import { CONTENT_LABEL, TEST_IMAGES } from './images.ts'

interface Rows {
  containers: { Id: string; Names: string[]; State: string }[]
  networks: { Id: string; Name: string }[]
  volumes: { Volumes: { Name: string }[] | null }
}

/** `container ID NAME`, `network ID NAME`, `volume NAME NAME`, containers first; of everybody, or with these labels only. */
export async function inventoryOf(socket: string, labels: readonly string[] = []): Promise<string[]> {
  const query = { all: '1', ...(labels.length === 0 ? {} : { filters: JSON.stringify({ label: labels }) }) }
  const ask = <K extends keyof Rows>(kind: K): Promise<Rows[K]> =>
    engineJson<Rows[K]>(socket, { path: kind === 'containers' ? '/containers/json' : `/${kind}`, query })
  const [containers, networks, { Volumes: volumes }] = await Promise.all([ask('containers'), ask('networks'), ask('volumes')])
  return [
    ...containers.map(({ Id, Names }) => `container ${Id} ${Names[0]?.slice(1)}`).toSorted(),
    ...networks.map(({ Id, Name }) => `network ${Id} ${Name}`).toSorted(),
    ...(volumes ?? []).map(({ Name }) => `volume ${Name} ${Name}`).toSorted(),
  ]
}

/** What every engine has by itself. */
const own: ReadonlySet<string> = new Set(['bridge', 'host', 'none'])

/** What there is beside what an engine has when it is new; of images those that no helper of the tests made. */
export async function leftOn(socket: string): Promise<string[]> {
  const things = (await inventoryOf(socket)).filter((line) => !(line.startsWith('network ') && own.has(line.split(' ')[2] ?? '')))
  return [...things, ...(await imagesOf(socket))]
}

interface ImageRow {
  Id: string
  ParentId: string
  RepoTags: string[] | null
  Labels: Record<string, string> | null
}

/** What older engines say in place of no name. */
const nameless = '<none>:<none>'

/** `image ID NAME`, a line a name; `<none>` of one without. */
async function imagesOf(socket: string): Promise<string[]> {
  const images = await engineJson<ImageRow[]>(socket, { path: '/images/json' })
  const made: ReadonlySet<string> = new Set(Object.values(TEST_IMAGES))
  return images
    .flatMap(({ Id, RepoTags, Labels, ParentId }) => {
      const names = (RepoTags ?? []).filter((name) => name !== nameless)
      // Made anew, for changed content or by two files at once, a test image leaves its former self without a name. It has no parent, as one has
      // that is made of a worker.
      const former = Labels?.[CONTENT_LABEL] !== undefined && ParentId === ''
      const all = names.length > 0 || former ? names : ['<none>']
      return all.map((name) => ({ Id, name }))
    })
    .filter(({ name }) => !made.has(name))
    .map(({ Id, name }) => `image ${Id} ${name}`)
    .toSorted()
}
