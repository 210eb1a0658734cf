#!/usr/bin/env node
// `muster`, under whatever Node the machine has: with an older one than the host needs, it starts itself again under the
// pinned one. Signals, exit code and standard streams are those of the real program.
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const built = join(here, '../dist/cli.js')
// The repository's own tests run the sources, so that coverage counts their lines.
const source = process.env.MUSTER_SOURCE === '1' ? join(here, '../src/cli/index.ts') : undefined
const { engines } = JSON.parse(readFileSync(join(here, '../package.json'), 'utf8'))
const needed = Number.parseInt(engines.node.replace('>=', ''), 10)
const recent = Number.parseInt(process.versions.node, 10) >= needed

if (!source && !existsSync(built)) {
  console.error('muster is not built: run `npm start` once, or `pnpm build`.')
  process.exit(125)
}
if (source) run(recent ? process.execPath : pinned(), ['--conditions=@muster/source', source])
else if (recent) await import(built)
else run(pinned(), [built])

/** @param {string} node @param {string[]} args */
function run(node, args) {
  // Becomes it, where this Node can: one process, which gets its signals itself.
  if (process.execve) process.execve(node, [node, ...args, ...process.argv.slice(2)], process.env)
  // Else the channel tells the program when this process is killed and can pass on no signal any more.
  const child = spawn(node, [...args, ...process.argv.slice(2)], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, MUSTER_FORWARDED: '1' },
  })
  // Else whoever has the same user opens Node's inspector by it, and runs what it likes in here.
  process.on('SIGUSR1', () => undefined)
  // At a terminal Ctrl-C reaches both, and the program decides what it means; elsewhere it was sent to us alone.
  const terminal = [process.stdin, process.stdout, process.stderr].some((stream) => stream.isTTY)
  process.on('SIGINT', () => terminal || child.kill('SIGINT'))
  for (const signal of /** @type {const} */ (['SIGTERM', 'SIGHUP'])) process.on(signal, () => child.kill(signal))
  child.on('error', (error) => {
    console.error(`muster: ${node} cannot be started: ${error.message}`)
    process.exit(125)
  })
  child.on('close', (code, signal) => {
    if (signal) {
      process.removeAllListeners(signal)
      process.kill(process.pid, signal)
    } else process.exit(code ?? 125)
  })
}

/** The Node that was installed with us: in a clone .tools has it, elsewhere it is a dependency. */
function pinned() {
  const name = `node-linux-${process.arch}`
  const inClone = join(here, '../../../.tools/node_modules', name, 'bin/node')
  if (existsSync(inClone)) return inClone
  try {
    return join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), 'bin/node')
  } catch {
    console.error(
      `muster needs Node ${needed} or newer; this is ${process.versions.node}, and the package ${name} is not installed.`,
    )
    console.error(`Run \`npm install ${name}@${needed}\`, or use a newer Node.`)
    process.exit(125)
  }
}
