/** Workers' containers that somebody gave another name: all here goes by the name, so they get theirs back. */
import type { OwnerTags, WorkerId } from '@muster/core'
import type { ContainerRow, Engine } from './client.ts'
import { isGone, isNameTaken } from './errors.ts'
import { containerName, label, tagsOf } from './labels.ts'
import { partLabel } from './storage.ts'

/** Among these rows; `rows` have the owner's tags. Says for which workers the name was given back. */
export async function giveNamesBack(engine: Engine, rows: readonly ContainerRow[], signal: AbortSignal): Promise<WorkerId[]> {
  const named = new Set(rows.flatMap(({ Names }) => Names))
  const back: WorkerId[] = []
  for (const row of rows) {
    const id = tagsOf(row.Labels)?.['muster-worker']
    // Every worker's container says what it was made by; who copies tags has only those.
    const made = row.Labels[label.spec] !== undefined && row.Labels[partLabel.part] === undefined
    if (id === undefined || !made || named.has(`/${containerName(id)}`)) continue
    if ((await isMade(engine, row, signal)) && (await rename(engine, { container: row.Id, id }, signal))) back.push(id)
  }
  return back
}

/** Of one worker whose name nobody has. */
export async function giveNameBack(
  engine: Engine,
  { id, owner }: { id: WorkerId; owner: readonly string[] },
  signal: AbortSignal,
): Promise<boolean> {
  const filters = { label: [...owner, `muster-worker=${id}`] }
  const rows = await engine.json<ContainerRow[]>({
    method: 'GET',
    path: '/containers/json',
    query: { all: true, filters },
    signal,
  })
  return (await giveNamesBack(engine, rows, signal)).length > 0
}

/** Did a launch make it? An image that was committed from a worker has the worker's labels, and gives them to each of its containers. */
async function isMade(engine: Engine, { ImageID }: ContainerRow, signal: AbortSignal): Promise<boolean> {
  try {
    const { Config } = await engine.json<{ Config: { Labels: Record<string, string> | null } | null }>({
      method: 'GET',
      path: `/images/${encodeURIComponent(ImageID)}/json`,
      signal,
    })
    return Config?.Labels?.['muster-worker' satisfies keyof OwnerTags] === undefined
  } catch (error) {
    // Nobody can tell: it is left alone.
    if (isGone(error)) return false
    throw error
  }
}

async function rename(
  engine: Engine,
  { container, id }: { container: string; id: WorkerId },
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await engine.json({ method: 'POST', path: `/containers/${container}/rename`, query: { name: containerName(id) }, signal })
    return true
  } catch (error) {
    if (isGone(error) || isNameTaken(error)) return false
    throw error
  }
}
