/** What comes out of `tar`, with a shell in its place that says and does what a tar would. */
import { type ChildProcess, spawn } from 'node:child_process'
import { expect, test } from 'vitest'
import { packed } from './copy.ts'

const tarOf = (script: string): ChildProcess => spawn('/bin/sh', ['-c', script], { stdio: 'pipe' })
const never = new AbortController().signal

async function taken(script: string): Promise<{ bytes: number; error: unknown }> {
  let bytes = 0
  try {
    for await (const chunk of packed(tarOf(script), 'secret', never)) bytes += chunk.length
  } catch (error) {
    return { bytes, error }
  }
  return { bytes, error: undefined }
}

const closed = `echo 'tar: secret/a: Cannot open: Permission denied' >&2
echo 'tar: Exiting with failure status due to previous errors' >&2
exit 2`

test('what cannot be read is told with its reason, before a byte of it', async () => {
  const { bytes, error } = await taken(`head -c 10240 /dev/zero; ${closed}`)
  expect(bytes).toBe(0)
  expect(error).toMatchObject({
    code: 'invalid-spec',
    path: 'path',
    message: 'cannot read secret: tar: secret/a: Cannot open: Permission denied',
  })
})

test('a large tree comes as it is read, and fails at its end', async () => {
  const { bytes, error } = await taken(`head -c 5000000 /dev/zero; ${closed}`)
  expect(bytes).toBeGreaterThan(0)
  expect(error).toMatchObject({ code: 'invalid-spec' })
})

test.each([10_240, 3_000_000])('%d bytes come whole, also when a file changed under them', async (size) => {
  expect(await taken(`head -c ${size} /dev/zero; echo 'tar: file changed as we read it' >&2; exit 1`)).toEqual({
    bytes: size,
    error: undefined,
  })
})
