// Steps with one line each and their duration; a step that was done for the same inputs is skipped.
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { cache, root } from './paths.mjs'

/** A step failed. `fix` says what the user can do about it. */
export class StepError extends Error {
  /** @param {string} message @param {string} [fix] @param {string} [output] */
  constructor(message, fix, output) {
    super(message)
    this.fix = fix
    this.output = output
  }
}

/**
 * Runs one step unless its stamp says that it was done for the same inputs.
 * @param {string} title
 * @param {{ key?: string, stamp?: string, done?: () => boolean, run: () => void | Promise<void> }} step
 */
export async function step(title, { key, stamp, done, run }) {
  const file = stamp ? join(cache, 'stamps', stamp) : undefined
  if (file && readOr(file, '') === key && (done?.() ?? true)) return
  const started = performance.now()
  process.stderr.write(`muster: ${title} …\n`)
  if (file) rmSync(file, { force: true })
  await run()
  if (file && key) {
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, key)
  }
  process.stderr.write(`muster: ${title}: done in ${((performance.now() - started) / 1000).toFixed(1)} s\n`)
}

/**
 * Runs a command, its output kept back and shown only when it fails.
 * @param {string} command @param {string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, fix?: (output: string) => string | undefined }} [options]
 * @returns {Promise<void>}
 */
export function quietly(command, args, { cwd = root, env = process.env, fix } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    // The end of a long output is what names the cause.
    const keep = (/** @type {Buffer} */ data) => (output = (output + data).slice(-4000))
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    child.on('error', (error) => reject(new StepError(`${command} cannot be started: ${error.message}`, fix?.(error.message))))
    child.on('close', (code, signal) => {
      if (code === 0) resolve()
      else reject(new StepError(`${[command, ...args].join(' ')} ended with ${signal ?? code}`, fix?.(output), output))
    })
  })
}

/**
 * One hash of files and folders by path and content.
 * @param {string[]} paths relative to the repository; what is absent counts as absent
 * @param {(path: string) => boolean} [wanted]
 */
export function hashOf(paths, wanted = () => true) {
  const hash = createHash('sha256')
  for (const path of paths) visit(join(root, path))
  return hash.digest('hex')

  /** @param {string} path */
  function visit(path) {
    const name = relative(root, path)
    const entries = list(path)
    if (entries) {
      for (const entry of entries.sort()) if (entry !== 'node_modules' && entry !== 'dist') visit(join(path, entry))
    } else if (wanted(name)) {
      hash.update(`${name}\0`).update(readOr(path, 'absent')).update('\0')
    }
  }
}

/** @param {string} path */
function list(path) {
  try {
    return readdirSync(path)
  } catch {
    return undefined
  }
}

/** @param {string} file @param {string} fallback */
function readOr(file, fallback) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return fallback
  }
}
