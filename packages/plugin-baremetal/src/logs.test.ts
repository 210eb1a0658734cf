import { mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { tail } from './logs.ts'

test('output from a position near its end costs no more than what comes after it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'muster-tail-'))
  try {
    await writeFile(join(folder, 'out'), `${'x'.repeat(8 << 20)}the end`)
    await writeFile(join(folder, 'err'), '')
    const file = await open(join(folder, 'out'))
    const read = vi.spyOn(Object.getPrototypeOf(file) as typeof file, 'read')
    const options = {
      folder,
      cursor: `${8 << 20}:0`,
      follow: false,
      over: async () => true,
      signal: new AbortController().signal,
    }
    let text = ''
    for await (const { data } of tail(options)) text += Buffer.from(data).toString()
    const counts = await Promise.all(
      read.mock.results.map(async ({ value }) => ((await value) as { bytesRead: number }).bytesRead),
    )
    read.mockRestore()
    await file.close()
    expect(text).toBe('the end')
    expect(counts.reduce((sum, one) => sum + one, 0)).toBe('the end'.length)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
