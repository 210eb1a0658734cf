/** What the live workers of a provider were given before this host started: their plugin may say it at any time, also of old ones. */
import type { LaunchSpec } from '@muster/core'
import type { Sealer } from '../store/seal.ts'
import type { Store } from '../store/store.ts'
import type { RunRequest } from './model.ts'
import { withTicket } from './proofs.ts'
import { sealContext } from './runs/records.ts'

/** The specs of its workers and what the runs in them were given, oldest first, read one by one: together they may be large. Errors: StoreError. */
export async function* givenBefore(
  provider: string,
  { store, sealer }: { store: Pick<Store, 'read'>; sealer: Sealer },
): AsyncGenerator<Partial<LaunchSpec>> {
  const { read } = store
  const workers = await read
    .selectFrom('workers')
    .select('id')
    .where('provider', '=', provider)
    .where('ended_at', 'is', null)
    .orderBy('id')
    .execute()
  for (const { id } of workers) {
    const row = await read.selectFrom('workers').select('spec_sealed').where('id', '=', id).executeTakeFirst()
    const spec = opened(sealer, { sealed: row?.spec_sealed, context: `worker:${id}` })
    if (spec !== undefined) yield withTicket(spec as LaunchSpec, sealer)
  }
  const runs = await read
    .selectFrom('runs')
    .innerJoin('workers', 'workers.id', 'runs.worker_id')
    .select('runs.id')
    .where('workers.provider', '=', provider)
    .where('runs.ended_at', 'is', null)
    .orderBy('runs.id')
    .execute()
  for (const { id } of runs) {
    const row = await read.selectFrom('runs').select('request_sealed').where('id', '=', id).executeTakeFirst()
    const request = opened(sealer, { sealed: row?.request_sealed, context: sealContext(id) }) as RunRequest | undefined
    if (request !== undefined) yield { env: request.env ?? {}, files: request.files ?? [] }
  }
}

/** Undefined where there is nothing any more, and where it does not open: then nobody can read it, and whoever needs it says so. */
function opened(sealer: Sealer, { sealed, context }: { sealed: string | null | undefined; context: string }): unknown {
  if (sealed === null || sealed === undefined) return undefined
  try {
    return JSON.parse(sealer.open(sealed, context))
  } catch {
    return undefined
  }
}
