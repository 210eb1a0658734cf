import { expect, test } from 'vitest'
import type { LiveWorker } from './model.ts'
import { changeWorker, type Writing } from './records.ts'

test('a record that has ended stays so, whoever asks', async () => {
  const worker = { id: 'w1', phase: 'terminated', rev: 3 } as LiveWorker
  await expect(changeWorker({} as Writing, worker, { phase: 'idle' })).rejects.toThrow(
    'a worker cannot go from terminated to idle',
  )
})
