/** Ctrl-C, as a pipeline understands it. */

/** Once: cancel, and wait for the ends. Again: kill. A third time: the process goes, and leaves the rest to the daemon. Returns what ends that. */
export function hookSignals(cancel: AbortController, force: AbortController): () => void {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  const hear = (signal: NodeJS.Signals): void => {
    if (force.signal.aborted) process.exit(130)
    else if (cancel.signal.aborted) force.abort(`${signal} again`)
    else cancel.abort(signal)
  }
  for (const signal of signals) process.on(signal, hear)
  return () => {
    for (const signal of signals) process.off(signal, hear)
  }
}
