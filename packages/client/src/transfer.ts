/** Inputs up, outputs down, each with its SHA-256 compared on both sides. */
import type { Caller } from './call.ts'
import { MusterError } from './errors.ts'
import { measured, saveAs, type SaveOptions } from './files.ts'
import type { Artifact } from './generated/api.ts'

export interface Output {
  /** Absent when the server did not say. */
  sha256: string | undefined
  /** Fails at its end when other bytes came than were announced. */
  tar: AsyncIterable<Uint8Array>
}

/** Uploads an input; `tar` is asked anew for each try, and must give the same bytes. */
export async function putInput(
  caller: Caller,
  { run, name, tar, signal }: { run: string; name: string; tar: () => AsyncIterable<Uint8Array>; signal?: AbortSignal },
): Promise<Artifact> {
  let sent: ReturnType<typeof measured> | undefined
  const artifact = await caller.call('putInput', {
    params: { id: run, name },
    headers: { 'content-type': 'application/x-tar' },
    stream: () => (sent = measured(tar())).bytes,
    ...(signal === undefined ? {} : { signal }),
  })
  if (artifact.sha256 !== undefined && artifact.sha256 !== sent?.sha256())
    throw new MusterError('digest-mismatch', `input '${name}' arrived with other bytes than were sent`)
  return artifact
}

export async function getOutput(
  caller: Caller,
  { run, name, signal }: { run: string; name: string; signal?: AbortSignal },
): Promise<Output> {
  const answer = await caller.open('getOutput', {
    params: { id: run, name },
    headers: { accept: 'application/x-tar' },
    ...(signal === undefined ? {} : { signal }),
  })
  const sha256 = answer.headers['muster-sha256'] as string | undefined
  async function* checked(): AsyncGenerator<Uint8Array, void, undefined> {
    const got = measured(answer)
    yield* got.bytes
    if (sha256 !== undefined && got.sha256() !== sha256)
      throw new MusterError('digest-mismatch', `output '${name}' came with other bytes than are stored`)
  }
  return { sha256, tar: checked() }
}

/** How what is downloaded becomes files. */
export interface Saving extends SaveOptions {
  target: string
  /** Hears of each pipe, device and name that is not UTF-8 which was left out, with the reason, once all else is saved. */
  onSkipped?: (what: string) => void
}

/** Downloads an output as the file or folder `target`; begins anew when the connection is cut. */
export async function saveOutput(
  caller: Caller,
  { target, replace, onSkipped, ...output }: Saving & { run: string; name: string; signal?: AbortSignal },
): Promise<string | undefined> {
  const again = caller.patience(output.signal)
  for (;;) {
    const { sha256, tar } = await getOutput(caller, output)
    try {
      const skipped = await saveAs(target, tar, { replace: replace !== false })
      for (const path of skipped) onSkipped?.(path)
      return sha256
    } catch (error) {
      await again(error, 'begun')
    }
  }
}
