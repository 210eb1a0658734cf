/** Workers' containers that somebody gave another name: all here goes by the name, so they get theirs back. */
import type { OwnerTags, WorkerId } from '@muster/core'
import type { ContainerRow, Engine } from '../client.ts'
import { isGone, isNameTaken, isStatus } from '../errors.ts'
import { containerName, label, partLabel } from '../labels.ts'

/**
 * Of a live worker whose name nobody has. Asked by those who know of the worker alone: in a list, a container that somebody made with its
 * labels would be taken for a worker without a record, and removed.
 */
export async function giveNameBack(
  engine: Engine,
  { id, owner }: { id: WorkerId; owner: readonly string[] },
  signal: AbortSignal,
): Promise<boolean> {
  const filters = { label: [...owner, `muster-worker=${id}`] }
  const query = { all: true, filters }
  const rows = await engine.json<ContainerRow[]>({ method: 'GET', path: '/containers/json', query, signal })
  // Made, or named again, since its name was asked for.
  if (rows.some(({ Names }) => Names.includes(`/${containerName(id)}`))) return true
  for (const row of rows) {
    // Every worker's container says what it was made by; who copies tags has only those.
    const made = row.Labels[label.spec] !== undefined && row.Labels[partLabel.part] === undefined
    if (made && (await isMade(engine, row, signal)) && (await rename(engine, { container: row.Id, id }, signal))) return true
  }
  return false
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
    // Another process may have done it meanwhile: whoever has the name now is looked at.
    if (isNameTaken(error) || isStatus(error, 400, /same name/i)) return true
    if (isGone(error)) return false
    throw error
  }
}
