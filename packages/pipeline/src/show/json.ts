/** Events as one JSON object a line, for programs. */
import type { PipelineEvent } from '../events.ts'

/** Output of a job is bytes: base64, and under `text` when they are UTF-8 as they stand. */
export function jsonOf(event: PipelineEvent): string {
  if (event.type !== 'log') return JSON.stringify(event)
  const { data, ...rest } = event
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  return JSON.stringify({ ...rest, base64: bytes.toString('base64'), ...(isUtf8(bytes) ? { text: bytes.toString('utf8') } : {}) })
}

function isUtf8(bytes: Buffer): boolean {
  return Buffer.from(bytes.toString('utf8'), 'utf8').equals(bytes)
}
