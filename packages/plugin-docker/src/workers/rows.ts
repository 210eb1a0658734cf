/** What an engine lists of workers, all of them with one request. */
import type { ListQuery, OwnerTags, WorkerId } from '@muster/core'
import type { ContainerRow, Engine } from '../client.ts'
import { containerName, label, ownerFilter, tagsOf } from '../labels.ts'

export interface Row {
  id: WorkerId
  tags: OwnerTags
  container: string
  /** The engine's word. */
  state: string
  /** What it has reserved: vCPU and bytes. */
  cpu: number
  memoryBytes: number
}

/** All workers with these tags, in the order of their ids. An engine gives all at once: it has no pages. */
export async function listRows(engine: Engine, tags: ListQuery['tags'] | undefined, signal: AbortSignal): Promise<Row[]> {
  const filters = { label: tags === undefined ? ['muster-worker'] : ownerFilter(tags) }
  const rows = await engine.json<ContainerRow[]>({
    method: 'GET',
    path: '/containers/json',
    query: { all: true, filters },
    signal,
  })
  return rows.flatMap(rowOf).sort((left, right) => (left.id < right.id ? -1 : 1))
}

function rowOf({ Id, Labels, State, Names }: ContainerRow): Row[] {
  const tags = tagsOf(Labels)
  // Labels can be given to any container; the name belongs to one.
  if (tags === undefined || !Names.includes(`/${containerName(tags['muster-worker'])}`)) return []
  const [cpu, memoryBytes] = [Number(Labels[label.cpu] ?? 0) / 1e9, Number(Labels[label.memory] ?? 0)]
  return [{ id: tags['muster-worker'], tags, container: Id, state: State, cpu, memoryBytes }]
}
