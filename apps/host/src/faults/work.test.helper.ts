/** Runs that write numbered lines until they are told to end: what must not lose or double a byte under faults. */
import type { MusterClient, Run } from '@muster/client'

/** Ends by itself at `most`, so that nothing runs for ever when a test fails. */
const counting = (most: number): string[] => [
  'sh',
  '-c',
  `n=0; while [ $n -lt ${most} ] && [ ! -e stop ]; do n=$((n+1)); echo line $n; sleep 0.05; done; exit 5`,
]

export interface Counting {
  id: string
  /** Resolves with the run and all it wrote. */
  done: Promise<{ run: Run; text: string }>
  /** Lines seen so far. */
  seen(): number
  end(): Promise<void>
}

/** Starts a run and follows it through everything. */
export async function startCounting(
  client: MusterClient,
  pool: string,
  { most = 3000 }: { most?: number } = {},
): Promise<Counting> {
  const { id } = await client.runs.create({ pool, command: counting(most) })
  let text = ''
  const done = (async () => {
    for await (const { data } of client.runs.logs(id)) text += Buffer.from(data).toString()
    return { run: await client.runs.wait(id), text }
  })()
  done.catch(() => undefined)
  return {
    id,
    done,
    seen: () => text.split('\n').length - 1,
    async end() {
      const run = await client.runs.get(id)
      const { id: exec } = await client.workers.exec(run.worker ?? '', { command: ['touch', 'stop'] })
      await client.runs.wait(exec)
    },
  }
}

/** What is wrong with the lines of a counting run; undefined when each is there once, in order. */
export function gapIn(text: string): string | undefined {
  const lines = text.split('\n').slice(0, -1)
  const wrong = lines.findIndex((line, index) => line !== `line ${index + 1}`)
  return wrong === -1 ? undefined : `line ${wrong + 1} is '${lines[wrong]}', after '${lines[wrong - 1]}'`
}
