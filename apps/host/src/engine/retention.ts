/** Drops what is older than the configuration keeps, a slice at a time so that no write waits for long. */
import { background, type Context, pause } from './context.ts'

/** Ages are counted in days; an hour late does not matter. */
const INTERVAL_MS = 3_600_000
/** Soon after a start, but not in its way. */
const FIRST_MS = 60_000
/** Ended rows kept at most, whatever their age: about 1 GB of records, and 2 GB of journal (six rows for each worker). */
const RECORDS = 500_000
const JOURNAL = 5_000_000
/** Rows of one delete: some milliseconds of the store's time. */
const SLICE = 2000

export function startRetention(context: Context): void {
  const { clock } = context
  const cancel = clock.after(FIRST_MS, () => background(context, 'old records could not be dropped', run))
  context.stopping.addEventListener('abort', cancel)

  async function run(): Promise<void> {
    while (!context.stopping.aborted) {
      await dropOld(context).catch((error: unknown) => context.report('old records could not be dropped', error))
      await pause(context, INTERVAL_MS)
    }
  }
}

/** One round over all tables: what is older than its age, and what is beyond its number of rows. */
async function dropOld(context: Context): Promise<void> {
  const { store, clock, settings } = context
  for (const table of ['workers', 'leases'] as const) {
    const beyond = await store.read
      .selectFrom(table)
      .select('ended_at')
      .where('ended_at', 'is not', null)
      .orderBy('ended_at', 'desc')
      .offset(settings.retention.records ?? RECORDS)
      .limit(1)
      .executeTakeFirst()
    const until = Math.max(clock.now() - settings.retention.recordsMs, (beyond?.ended_at ?? -1) + 1)
    await inSlices(context, () =>
      store.write(async (tx) => {
        const old = tx.selectFrom(table).select('id').where('ended_at', '<', until).limit(SLICE)
        return (await tx.deleteFrom(table).where('id', 'in', old).executeTakeFirst()).numDeletedRows
      }),
    )
  }
  const since = clock.now() - settings.retention.journalMs
  const last = context.journal.events.last() - (settings.retention.journalRows ?? JOURNAL)
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
}

async function inSlices(context: Context, drop: () => Promise<bigint>): Promise<void> {
  while (Number(await drop()) === SLICE && !context.stopping.aborted);
}
