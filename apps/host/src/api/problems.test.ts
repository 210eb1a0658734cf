import { expect, test } from 'vitest'
import { problemCodes, problemKinds } from './problems.ts'

const committed = new URL('../../../../docs/reference/problems.md', import.meta.url).pathname

test('the committed reference names every code (write it anew: `pnpm vitest run apps/host/src/api/problems.test.ts -u`)', async () => {
  const rows = problemCodes.map((code) => {
    const { status, title, meaning, retry } = problemKinds[code]
    return `| \`${code}\` | ${status} | ${title}. ${meaning} | ${retry === true ? 'yes' : ''} |`
  })
  const text = [
    '# Problems of the API',
    '',
    'Answers other than success are `application/problem+json` (RFC 9457) with a stable `code`; `type` is `urn:muster:problem:` and the code.',
    'A retry helps where it says so; `Retry-After` then says when.',
    '',
    '| code | status | meaning | retry |',
    '| --- | --- | --- | --- |',
    ...rows,
    '',
  ].join('\n')
  await expect(text).toMatchFileSnapshot(committed)
})
