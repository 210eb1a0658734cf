/** Lists with a filter that show nothing: said with the filter, and a name that the daemon does not know is refused. */
import type { MusterClient } from '@muster/client'

export interface Named {
  pool?: string
  provider?: string
}

/** `nothing` with what it was looked for in: nobody shall take an empty part for the whole. Rejects as the daemon does with an unknown name. */
export async function emptyIn(
  client: { pools: Pick<MusterClient['pools'], 'get'>; providers: Pick<MusterClient['providers'], 'get'> },
  nothing: string,
  { pool, provider }: Named,
): Promise<string> {
  if (pool !== undefined) await client.pools.get(pool)
  if (provider !== undefined) await client.providers.get(provider)
  const parts = [pool === undefined ? [] : [`pool ${pool}`], provider === undefined ? [] : [`provider ${provider}`]].flat()
  return parts.length === 0 ? nothing : `of ${parts.join(' and ')}: ${nothing}`
}
