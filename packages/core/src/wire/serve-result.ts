/** Checks what an author's method gave, and writes it. */
import { ProviderError } from '../errors.ts'
import { encodeJson } from './json.ts'
import { envelopeBytes, maxFrameBytes } from './limits.ts'
import { describeIssues, type MethodSpec } from './messages.ts'

export interface Question {
  name: string
  spec: MethodSpec
  params: unknown
}

/** JSON text of the result. A wrong shape is `internal`, with method and path. */
export function resultText({ name, spec, params }: Question, value: unknown): string {
  if (spec.nothing === true) return '{}'
  const checked = check(spec, value)
  if (!checked.ok) throw fault(name, checked.reason)
  const wrong = spec.check?.(params, checked.value)
  if (wrong !== undefined) throw fault(name, wrong)
  let text: string
  try {
    text = encodeJson(checked.value)
  } catch (error) {
    throw fault(name, error instanceof Error ? error.message : 'not a JSON value')
  }
  const most = spec.maxBytes ?? maxFrameBytes - envelopeBytes
  const bytes = Buffer.byteLength(text)
  if (bytes > most) throw fault(name, `an answer of ${bytes} bytes; at most ${most}`)
  return text
}

type Checked = { ok: true; value: unknown } | { ok: false; reason: string }

/** Fields that are present but undefined would not reach the other side: only when the first look fails are they dropped. */
function check(spec: MethodSpec, value: unknown): Checked {
  try {
    const first = spec.result.safeParse(value)
    if (first.success) return { ok: true, value: first.data }
    const again = spec.result.safeParse(JSON.parse(JSON.stringify(value) ?? 'null'))
    return again.success ? { ok: true, value: again.data } : { ok: false, reason: describeIssues(first.error).message }
  } catch (error) {
    // A cycle, a BigInt, a getter that throws.
    return { ok: false, reason: error instanceof Error ? error.message : 'not a JSON value' }
  }
}

function fault(name: string, message: string): ProviderError {
  return new ProviderError('internal', `${name}: ${message}`)
}
