/** What a provider lends the runner: one program run in the worker, without any memory of it. */

/**
 * Runs `argv` in the worker (docker exec, kubectl exec, a local process) with standard input, output and error as pipes, no terminal.
 * The runner answers the end of `stdin` by ending, so a provider that can half-close should; `signal` must cut the connection.
 */
export interface RawExec {
  (request: { argv: readonly string[]; stdin?: AsyncIterable<Uint8Array>; signal: AbortSignal }): Promise<RawExecSession>
}

export interface RawChunk {
  stream: 'stdout' | 'stderr'
  data: Uint8Array
}

export interface RawExecSession {
  /** Pulled one by one; a chunk that is not asked for should stay in the pipe. May end in silence. */
  output: AsyncIterable<RawChunk>
  /** May reject or never settle: the runner takes no exit code from it. */
  exit: Promise<{ code?: number; signal?: string }>
}
