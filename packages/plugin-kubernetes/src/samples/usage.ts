/** What a worker uses, by the files of the kernel about its container: asked inside it, read here. */
import type { WorkerStats } from '@muster/core'

/**
 * Tells the files once for each line that comes in, and ends with it: whoever asks is gone then. The shell alone does it, so that it needs
 * nothing of the image and starts no process for a sample. `cgroup` of version 2 is one folder, of version 1 one for each kind.
 */
export const tellUsage = `
show() { [ -r "$2" ] && while IFS= read -r _l || [ "$_l" ]; do echo "$1 $_l"; done <"$2"; }
cd /sys/fs/cgroup || exit 1
while IFS= read -r _; do
  if [ -r cgroup.controllers ]; then
    show cpu cpu.stat; show memory memory.current; show peak memory.peak; show inactive memory.stat
    show pids pids.current; show io io.stat
  else
    show nanos cpuacct/cpuacct.usage; show memory memory/memory.usage_in_bytes; show peak memory/memory.max_usage_in_bytes
    show inactive memory/memory.stat; show pids pids/pids.current; show blkio blkio/blkio.throttle.io_service_bytes
  fi
  show net /proc/net/dev
  echo .
done`

/** One sample from the lines before `.`; undefined: the kernel tells neither processor time nor memory. Pure. */
export function usageOf(lines: readonly string[], { id, at }: Pick<WorkerStats, 'id' | 'at'>): WorkerStats | undefined {
  const rows = new Map<string, string[][]>()
  for (const line of lines) {
    const [kind = '', ...words] = line.trim().split(/[\s:]+/)
    rows.set(kind, [...(rows.get(kind) ?? []), words])
  }
  const single = (kind: string): number | undefined => numberOf(rows.get(kind)?.[0]?.[0])
  const named = (kind: string, name: string): number | undefined => numberOf(rows.get(kind)?.find(([word]) => word === name)?.[1])
  const micros = named('cpu', 'usage_usec')
  const nanos = single('nanos')
  const cpuSeconds = micros === undefined ? (nanos === undefined ? undefined : nanos / 1e9) : micros / 1e6
  const used = single('memory')
  if (cpuSeconds === undefined || used === undefined) return undefined
  const inactive = named('inactive', 'total_inactive_file') ?? named('inactive', 'inactive_file') ?? 0
  const memoryBytes = Math.max(0, used - inactive)
  const peak = single('peak')
  const pids = single('pids')
  const network = networkOf(rows.get('net') ?? [])
  const disk = diskOf(rows)
  return {
    id,
    at,
    cpuSeconds,
    memoryBytes,
    ...(peak === undefined ? {} : { memoryPeakBytes: Math.max(peak, memoryBytes) }),
    ...(pids === undefined ? {} : { pids }),
    ...(network === undefined ? {} : { network }),
    ...(disk === undefined ? {} : { disk }),
  }
}

function numberOf(text: string | undefined): number | undefined {
  // Twenty digits and more are no figure of a kernel.
  return text !== undefined && /^\d{1,19}$/.test(text) ? Number(text) : undefined
}

/** proc_pid_net(5): NAME, eight figures of what came, eight of what went. */
function networkOf(rows: readonly string[][]): WorkerStats['network'] | undefined {
  const devices = rows.filter((words) => words.length >= 17 && words[0] !== 'lo')
  if (devices.length === 0) return undefined
  const sum = (at: number): number => devices.reduce((total, words) => total + (numberOf(words[at]) ?? 0), 0)
  return { receivedBytes: sum(1), sentBytes: sum(9) }
}

/** Version 2: `MAJOR:MINOR rbytes=N wbytes=N …`; version 1: `MAJOR:MINOR Read N` and a total. */
function diskOf(rows: ReadonlyMap<string, string[][]>): WorkerStats['disk'] | undefined {
  const [io, blkio] = [rows.get('io'), rows.get('blkio')]
  if (io === undefined && blkio === undefined) return undefined
  const words = (io ?? []).flat()
  const byName = (name: string): number =>
    words.reduce((total, word) => total + (word.startsWith(`${name}=`) ? (numberOf(word.slice(name.length + 1)) ?? 0) : 0), 0)
  const byWord = (name: string): number =>
    (blkio ?? []).reduce((total, row) => total + (row[2] === name ? (numberOf(row[3]) ?? 0) : 0), 0)
  return { readBytes: byName('rbytes') + byWord('Read'), writtenBytes: byName('wbytes') + byWord('Write') }
}
