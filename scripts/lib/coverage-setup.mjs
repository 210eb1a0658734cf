// Before every test file: its child processes write their coverage when they end, and one that is killed just then leaves half a file,
// at which reading all of them would fail. What is still being written is waited for, what never will be whole is taken away.
import { readFile, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll } from 'vitest'

/** A kernel writes whole pages: a file that was cut ends at one. */
const PAGE = 4096
const WRITING_MS = 20_000

// The first to be registered is the last to run.
afterAll(async () => {
  const folder = process.env['NODE_V8_COVERAGE']
  if (!folder) return
  for (const name of await readdir(folder).catch(() => [])) if (name.endsWith('.json')) await makeWhole(join(folder, name))
}, 60_000)

/** @param {string} path */
async function makeWhole(path) {
  const end = performance.now() + WRITING_MS
  while ((await isCut(path)) && performance.now() < end && (await writes(path))) await sleep(50)
  if (!(await isCut(path))) return
  await rm(path, { force: true })
  console.log(`coverage: a child was killed while it wrote ${path}; what it reached is not counted`)
}

/** @param {string} path */
async function isCut(path) {
  const { size } = await stat(path)
  if (size % PAGE !== 0) return false
  try {
    JSON.parse(await readFile(path, 'utf8'))
    return false
  } catch {
    return true
  }
}

/** Is the process that a file is named after still there? `coverage-PID-TIME-N.json`. @param {string} path */
async function writes(path) {
  const pid = /coverage-(\d+)-/.exec(path)?.[1]
  return pid !== undefined && (await stat(`/proc/${pid}`).then(Boolean, () => false))
}
