/** The one key of `muster.yaml` that a client wants. Whether the rest is right is not for a client to say. */
import { parse } from 'yaml'
import { MusterError } from './errors.ts'

/** `host.data`, as written. */
export function dataOf(text: string): string | undefined {
  let file: { host?: { data?: unknown } | null } | null
  try {
    file = parse(text) as typeof file
  } catch (cause) {
    throw new MusterError('no-daemon', 'muster.yaml is not valid YAML', {
      hint: '`muster check` says where; a daemon that runs is reached all the same with --data DIR, its data folder.',
      cause,
    })
  }
  const data = file?.host?.data
  return typeof data === 'string' ? data : undefined
}
