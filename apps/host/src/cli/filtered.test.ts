import { expect, test } from 'vitest'
import { emptyIn } from './filtered.ts'

const known = (names: string[]) => ({
  get: async (name: string) => {
    if (!names.includes(name)) throw new Error(`there is no ${name}`)
    return {} as never
  },
})
const client = { pools: known(['ci']), providers: known(['local']) }

test('an empty list says in what it looked; what the daemon does not know is refused', async () => {
  expect(await emptyIn(client, 'no worker lives', {})).toBe('no worker lives')
  expect(await emptyIn(client, 'no worker lives', { pool: 'ci', provider: 'local' })).toBe(
    'of pool ci and provider local: no worker lives',
  )
  await expect(emptyIn(client, 'no worker lives', { pool: 'typo' })).rejects.toThrow('there is no typo')
  await expect(emptyIn(client, 'no worker lives', { pool: 'ci', provider: 'typo' })).rejects.toThrow('there is no typo')
})
