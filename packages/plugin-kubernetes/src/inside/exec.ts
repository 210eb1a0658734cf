/** Commands in a running worker: the cluster's exec, lent to the runner of core, which makes them outlive whoever started them. */
import { createRunner, type RawChunk, type RawExec, type Runner } from '@muster/core'
import { openStream } from '../api/exec.ts'
import { ApiFailure } from '../api/failure.ts'
import { toKubernetesError } from '../api/verdict.ts'
import type { Cluster } from '../client.ts'
import { workerContainer } from '../translate.ts'
import { stateRoot } from '../pod/volumes.ts'

/** The runner of a worker. Its folder is a volume: the worker's user may write there, whoever that is. */
export function runnerOf(cluster: Cluster, pod: string): Runner {
  return createRunner(rawExecOf(cluster, pod), { dir: `${stateRoot}/run`, shell: '/bin/sh' })
}

/** The raw exec of a worker; it rejects with an ApiFailure. */
export function rawExecOf({ client, namespace }: Cluster, pod: string): RawExec {
  return async ({ argv, stdin, signal }) => {
    const { output, exit } = await openStream(client.transport, {
      namespace,
      pod,
      container: workerContainer,
      command: argv,
      signal,
      ...(stdin === undefined ? {} : { stdin }),
    })
    return { output: told(output, exit), exit: exit.then((code) => ({ code }), codeless) }
  }
}

/** As shells say it: by that the runner knows. */
const NO_PROGRAM = 127

function codeless(error: unknown): { code: number } {
  const absent =
    error instanceof ApiFailure && toKubernetesError(error, { doing: 'run it', mutates: true }).code === 'unsupported'
  if (absent) return { code: NO_PROGRAM }
  throw error
}

/** A program that does not begin, as where the image has none of its name, ends without a word: the refusal is the output's own end. */
async function* told(output: AsyncIterable<RawChunk>, exit: Promise<number>): AsyncGenerator<RawChunk> {
  yield* output
  await exit
}
