/** The sealer of a data folder: its key must be the one that the store was sealed with. */
import { existsSync } from 'node:fs'
import { KEY_BYTES, openSealKey, type Sealer, sealer, sealKeyPath } from './seal.ts'
import { type Store, StoreError } from './store.ts'

/** What the store keeps of its key: equal for equal keys, and no way to the key. */
const MARK = 'muster seal key'

/** Is this the key that a store with this mark was sealed with? */
export function fitsKey(mark: string, key: Uint8Array): boolean {
  return key.length === KEY_BYTES && sealer(key).digest(MARK) === mark
}

/**
 * Opens the key, and makes it for a new store. Errors: StoreError `seal-key` when it is missing or another one, before anything is made in
 * its place: what waits in the store could never be opened again.
 */
export async function openSealer(store: Store, dataDir: string): Promise<Sealer> {
  const path = sealKeyPath(dataDir)
  const noted = await store.read.selectFrom('meta').select('value').where('key', '=', 'seal-key').executeTakeFirst()
  if (noted !== undefined && !existsSync(path))
    throw new StoreError('seal-key', `the seal key ${path} is missing`, {
      hint: 'Put it back from a backup. Without it no value of env, file or input in this store can be read: then begin with a new data folder.',
    })
  const seals = sealer(openSealKey(path))
  const mark = seals.digest(MARK)
  if (noted === undefined)
    await store.write((tx) =>
      tx
        .insertInto('meta')
        .values({ key: 'seal-key', value: mark })
        .execute()
        .then(() => undefined),
    )
  else if (noted.value !== mark)
    throw new StoreError('seal-key', `the seal key ${path} is not the one that this store was sealed with`, {
      hint: 'Put the right one back from a backup.',
    })
  return seals
}
