/** Programs that an engine runs in a container beside its own: how they end, and small ones to their end. */
import type { Duplex } from 'node:stream'
import { type Engine, toFailure } from '../client.ts'
import { EngineFailure } from '../errors.ts'
import { createFrameReader } from './frames.ts'
import { pause } from '@muster/provider-parts/waiting'

interface ProgramState {
  ExitCode: number | null
  Running: boolean
}

/** The end of the output comes a moment before an engine knows the end of the program. */
const POLL_MS = 50

/** An error says the beginning of it. */
const MAX_OUTPUT = 4096

export interface Program {
  engine: Engine
  /** Of its container. */
  path: string
  argv: readonly string[]
  env?: readonly string[]
  user?: string | undefined
  signal: AbortSignal
}

/** Runs a program to its end; `output` is the beginning of what it says. */
export async function runProgram(program: Program): Promise<{ code: number; output: string }> {
  const { engine, path, argv, env = [], user, signal } = program
  const body = {
    Cmd: [...argv],
    Env: [...env],
    AttachStdout: true,
    AttachStderr: true,
    Tty: false,
    ...(user === undefined ? {} : { User: user }),
  }
  const { Id } = await engine.json<{ Id: string }>({ method: 'POST', path: `${path}/exec`, body, signal })
  const start = { Detach: false, Tty: false }
  const connection = await engine.hijack({ method: 'POST', path: `/exec/${Id}/start`, body: start, signal })
  const output = await readOutput(connection)
  return { code: await exitCodeOf(engine, Id, signal), output }
}

/** What the engine knows of a program. One that it has not started yet neither runs nor has an exit code. */
export function programState(engine: Engine, exec: string, signal: AbortSignal): Promise<ProgramState> {
  return engine.json<ProgramState>({ method: 'GET', path: `/exec/${exec}/json`, signal })
}

/** The exit code of a program whose output has ended. */
export async function exitCodeOf(engine: Engine, exec: string, signal: AbortSignal): Promise<number> {
  for (;;) {
    const { ExitCode, Running } = await programState(engine, exec, signal)
    if (Running) await pause(POLL_MS, signal)
    else if (ExitCode !== null) return ExitCode
    else throw new EngineFailure('the engine does not say how the program ended', { sent: true })
  }
}

async function readOutput(connection: Duplex): Promise<string> {
  const reader = createFrameReader()
  let output = ''
  try {
    for await (const chunk of connection)
      for (const { data } of reader.push(chunk as Buffer))
        if (output.length < MAX_OUTPUT) output += data.toString('utf8', 0, MAX_OUTPUT)
    reader.end()
  } catch (error) {
    throw toFailure(error)
  } finally {
    connection.destroy()
  }
  return output
}
