/** Drops what is older than the configuration keeps, a slice at a time so that no write waits for long. */
import { background, type Context, pause } from './context.ts'

/** Ages are counted in days; an hour late does not matter. */
const INTERVAL_MS = 3_600_000
/** Soon after a start, but not in its way. */
const FIRST_MS = 60_000
/** Rows of one delete: some milliseconds of the store's time. */
const SLICE = 2000

export function startRetention(context: Context): void {
  const { clock } = context
  const cancel = clock.after(FIRST_MS, () => background(context, 'old records could not be dropped', run))
  context.stopping.addEventListener('abort', cancel)

  async function run(): Promise<void> {
    while (!context.stopping.aborted) {
      await dropOld(context).catch((error: unknown) => context.report('old records could not be dropped', error))
      await shrinkStore(context).catch((error: unknown) => context.report('the store could not be made smaller', error))
      await pause(context, INTERVAL_MS)
    }
  }
}

/** One round over all tables: what is older than its age, and what is beyond its number of rows. */
export async function dropOld(context: Context): Promise<void> {
  const { store, clock, settings, plugins } = context
  const { retention } = settings
  for (const table of ['workers', 'leases'] as const) {
    const until = Math.max(clock.now() - retention.recordsMs, await beyond(context, table))
    await inSlices(context, () =>
      store.write(async (tx) => {
        const old = tx.selectFrom(table).select('id').where('ended_at', '<', until).limit(SLICE)
        return (await tx.deleteFrom(table).where('id', 'in', old).executeTakeFirst()).numDeletedRows
      }),
    )
  }
  // Its rows have the machine's time: whichever is later keeps them, so that a clock which is set for a moment drops none.
  const since = Math.min(clock.now(), clock.wall()) - retention.journalMs
  const last = context.journal.events.last() - (retention.journalRows ?? Number.MAX_SAFE_INTEGER)
  await inSlices(context, () =>
    store.write(async (tx) => {
      const old = tx
        .selectFrom('journal')
        .select('seq')
        .where((either) => either.or([either('at', '<', since), either('seq', '<=', last)]))
        .limit(SLICE)
      return (await tx.deleteFrom('journal').where('seq', 'in', old).executeTakeFirst()).numDeletedRows
    }),
  )
  await dropTokens(context)
  // Those of a provider that is configured are followed to their end, however long that takes.
  const names = plugins.list().map((provider) => provider.name)
  await store.write(async (tx) => {
    const left = tx.deleteFrom('orphans').where('updated_at', '<', clock.now() - retention.recordsMs)
    await (names.length === 0 ? left : left.where('provider', 'not in', names)).execute()
  })
}

/** Rows that ended before this are more than may be kept; -1 when they are not. */
async function beyond({ store, settings }: Context, table: 'workers' | 'leases'): Promise<number> {
  const most = settings.retention.records
  if (most === undefined) return -1
  const first = await store.read
    .selectFrom(table)
    .select('ended_at')
    .where('ended_at', 'is not', null)
    .orderBy('ended_at', 'desc')
    .offset(most)
    .limit(1)
    .executeTakeFirst()
  return (first?.ended_at ?? -2) + 1
}

/** The first admin token stays, however it ended: without any, the next start would make one anew. */
async function dropTokens({ store, clock, settings }: Context): Promise<void> {
  const until = clock.now() - (settings.retention.tokensMs ?? Number.MAX_SAFE_INTEGER)
  await store.write(async (tx) => {
    const first = tx.selectFrom('tokens').select('id').where('role', '=', 'admin').orderBy('id').limit(1)
    await tx
      .deleteFrom('tokens')
      .where((either) => either.or([either('revoked_at', '<', until), either('expires_at', '<', until)]))
      .where('id', 'not in', first)
      .execute()
  })
}

async function inSlices(context: Context, drop: () => Promise<bigint>): Promise<void> {
  while (Number(await drop()) === SLICE && !context.stopping.aborted);
}

/** Slice by slice, so that writes come in between. */
async function shrinkStore({ store, stopping }: Context): Promise<void> {
  while (!stopping.aborted && (await store.shrink()));
}
