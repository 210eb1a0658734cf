/** Reads what a command writes, from the files it goes into, by offset of each: nothing lost, nothing twice. */
import { watch } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import type { LogChunk, OutputStream } from '@muster/core'
import { isSystem, refused } from './errors.ts'

/** Largest chunk of the contract. */
const CHUNK_BYTES = 65_536
/** A change is told by the kernel; this look is for a machine whose watches are used up. */
const LOOK_MS = 500

export interface TailOptions {
  folder: string
  /** `OUT:ERR`, bytes of each. */
  cursor?: string
  follow: boolean
  /** Nothing more will be written. */
  over(): Promise<boolean>
  signal: AbortSignal
}

/** The files stay open: what is removed meanwhile can be read to its end. */
export async function* tail(options: TailOptions): AsyncGenerator<LogChunk, void, undefined> {
  const { folder, cursor = '0:0', follow, over, signal } = options
  const match = /^(\d{1,15}):(\d{1,15})$/.exec(cursor)
  if (match === null) throw refused('invalid-spec', 'cursor', { message: 'not a cursor of this provider' })
  const at = { stdout: Number(match[1]), stderr: Number(match[2]) }
  const files = await openBoth(folder)
  if (files === undefined) return
  const bell = follow ? ringOnChange(folder) : undefined
  try {
    for (let last = !follow; ;) {
      bell?.listen()
      let moved = false
      for (const stream of ['stdout', 'stderr'] as const) {
        signal.throwIfAborted()
        const data = await readAt(files[stream], at[stream])
        if (data === undefined) continue
        moved = true
        at[stream] += data.length
        yield { stream, cursor: `${at.stdout}:${at.stderr}`, data }
      }
      if (moved) continue
      if (last) return
      // Over first, then once more to the end of both.
      last = await over()
      if (!last) await bell?.wait(signal)
    }
  } finally {
    bell?.close()
    await Promise.all(Object.values(files).map((file) => file.close()))
  }
}

async function openBoth(folder: string): Promise<Record<OutputStream, FileHandle> | undefined> {
  const stdout = await open(join(folder, 'out'), 'r').catch(ignoreMissing)
  if (stdout === undefined) return undefined
  const stderr = await open(join(folder, 'err'), 'r').catch(ignoreMissing)
  if (stderr !== undefined) return { stdout, stderr }
  await stdout.close()
  return undefined
}

async function readAt(file: FileHandle, position: number): Promise<Uint8Array | undefined> {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES)
  const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES, position)
  return bytesRead === 0 ? undefined : buffer.subarray(0, bytesRead)
}

interface Bell {
  /** From here on a change is not missed. */
  listen(): void
  wait(signal: AbortSignal): Promise<void>
  close(): void
}

/** Rings when anything in a folder changes. */
function ringOnChange(folder: string): Bell {
  let rung = false
  let wake: (() => void) | undefined
  const ring = (): void => {
    rung = true
    wake?.()
  }
  let close = (): void => undefined
  try {
    const watcher = watch(folder, ring).on('error', ring)
    close = () => watcher.close()
  } catch {
    // Without a watch the regular look remains.
  }
  return {
    listen() {
      rung = false
    },
    async wait(signal) {
      if (rung) return
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        wake = resolve
        timer = setTimeout(resolve, LOOK_MS)
        signal.addEventListener('abort', ring, { once: true })
        if (signal.aborted) resolve()
      })
      clearTimeout(timer)
      signal.removeEventListener('abort', ring)
      wake = undefined
    },
    close: () => close(),
  }
}

function ignoreMissing(error: unknown): undefined {
  if (!isSystem(error, 'ENOENT', 'ENOTDIR')) throw error
}
