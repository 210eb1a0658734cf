// The steps of scripts/bootstrap.mjs. Runs under any Node from 20 on.
import { spawn, spawnSync } from 'node:child_process'
import {
  accessSync,
  constants as access,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { constants, homedir } from 'node:os'
import { basename, delimiter, join } from 'node:path'
import { cache, node, pnpm, root, tools, toolsBin } from './paths.mjs'
import { hashOf, quietly, step, StepError } from './step.mjs'
import { builtWorkspaces, workspaces } from './workspaces.mjs'

/**
 * Prepares the repository and runs scripts/<command>.mjs. Returns its exit code.
 * @param {string} command @param {string[]} args
 */
export async function bootstrap(command, args) {
  try {
    refuseWhatCannotWork()
    const env = environment()
    await locked(() => prepare(env))
    return await handOver(command, args, env)
  } catch (error) {
    report(error)
    return 1
  }
}

/** @param {NodeJS.ProcessEnv} env */
async function prepare(env) {
  await step('fetching Node and pnpm', {
    stamp: 'tools',
    key: hashOf([`scripts/toolchain/linux-${process.arch}`]),
    done: () => existsSync(node) && existsSync(pnpm),
    run: () => fetchTools(env),
  })
  await step('installing packages', {
    stamp: 'install',
    key: hashOf(['pnpm-lock.yaml', 'pnpm-workspace.yaml', ...manifests(), 'scripts/toolchain']),
    done: () => existsSync(join(root, 'node_modules/.modules.yaml')) || existsSync(join(root, 'node_modules/.pnpm')),
    run: () => quietly(pnpm, ['install', '--frozen-lockfile', '--reporter=append-only'], { env, fix: whyInstallFails }),
  })
  await step('building', {
    stamp: 'build',
    key: hashOf(['pnpm-lock.yaml', 'tsup.preset.ts', ...workspaces()], (path) => !/\.test\.ts$|README|\.md$/.test(path)),
    done: () => builtWorkspaces().every((path) => existsSync(join(root, path, 'dist'))),
    run: () => quietly(pnpm, ['run', 'build'], { env }),
  })
}

function refuseWhatCannotWork() {
  // The npm packages of Node are linked against glibc; on musl they fail with a bare "not found".
  const report = /** @type {{ header: { glibcVersionRuntime?: string } }} */ (process.report.getReport())
  if (!report.header.glibcVersionRuntime)
    throw new StepError('this Linux has no glibc (Alpine?)', 'Use a distribution with glibc 2.28 or newer.')
  try {
    accessSync(root, access.W_OK)
  } catch {
    throw new StepError(
      `${root} cannot be written by ${user()}`,
      'Clone into a folder of your own, or run as the owner of this one.',
    )
  }
}

/** The environment of every step: the pinned tools first, and a home that can be written. */
function environment() {
  /** @type {NodeJS.ProcessEnv} */
  const env = { ...process.env, PATH: [toolsBin, process.env.PATH].join(delimiter) }
  const home = process.env.HOME || homedir()
  try {
    accessSync(home, access.W_OK)
    env.HOME = home
    return env
  } catch {
    // npm and pnpm keep their caches under HOME; without one they fail with a bare EACCES.
    const own = join(cache, 'home')
    mkdirSync(own, { recursive: true })
    // npm passed its settings on to us, the cache below the unusable home among them.
    for (const name of Object.keys(env))
      if (/^npm_config_(cache|prefix|userconfig)$|^XDG_|^PNPM_HOME$/.test(name)) delete env[name]
    return { ...env, HOME: own, npm_config_cache: join(own, '.npm') }
  }
}

/**
 * Node and pnpm come as npm packages that carry the binary of one architecture, so that no install script has to run. The
 * lockfile beside them pins their hashes.
 * @param {NodeJS.ProcessEnv} env
 */
async function fetchTools(env) {
  const fresh = join(tools, 'fresh')
  rmSync(fresh, { recursive: true, force: true })
  mkdirSync(fresh, { recursive: true })
  for (const file of ['package.json', 'package-lock.json'])
    copyFileSync(join(root, `scripts/toolchain/linux-${process.arch}`, file), join(fresh, file))
  const [command, ...args] = npm()
  const options = [
    'ci',
    '--ignore-scripts',
    '--no-audit',
    '--no-fund',
    '--include=optional',
    '--workspaces=false',
    '--global=false',
  ]
  // npm would read the settings of the npm that started us as if they were meant for it.
  const clean = Object.fromEntries(
    Object.entries(env).filter(([name]) => !/^npm_(config_(local_prefix|global|workspace)|package_|lifecycle_)/i.test(name)),
  )
  await quietly(command, [...args, ...options], { cwd: fresh, env: clean, fix: whyInstallFails })
  const bin = join(fresh, 'node_modules/.bin')
  symlinkSync(`../@pnpm/exe.linux-${process.arch}/pnpm`, join(bin, 'pnpm'))
  for (const tool of ['node', 'pnpm']) {
    await quietly(join(bin, tool), ['--version'], {
      cwd: fresh,
      env,
      fix: () => `The pinned ${tool} does not start here: it needs glibc 2.28 or newer.`,
    })
  }
  rmSync(join(tools, 'node_modules'), { recursive: true, force: true })
  renameSync(join(fresh, 'node_modules'), join(tools, 'node_modules'))
  rmSync(fresh, { recursive: true, force: true })
}

/** The npm that started us, else the one on PATH.
 * @returns {[string, ...string[]]} */
function npm() {
  const path = process.env.npm_execpath
  return path && basename(path) === 'npm-cli.js' ? [process.execPath, path] : ['npm']
}

/**
 * One bootstrap at a time in this folder: two would write the same files.
 * @param {() => Promise<void>} run
 */
async function locked(run) {
  mkdirSync(cache, { recursive: true })
  const lock = join(cache, 'bootstrap.lock')
  let told = false
  for (;;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' })
      break
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error
    }
    const owner = Number(readText(lock))
    if (!alive(owner)) {
      rmSync(lock, { force: true })
      continue
    }
    if (!told) process.stderr.write(`muster: waiting for the bootstrap with pid ${owner}\n`)
    told = true
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
  try {
    await run()
  } finally {
    rmSync(lock, { force: true })
  }
}

/** @param {number} pid */
function alive(pid) {
  if (!Number.isInteger(pid) || pid <= 0) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM'
  }
}

/**
 * Runs the real script under the pinned Node. Its exit code is ours; a signal to us is one to it.
 * @param {string} command @param {string[]} args @param {NodeJS.ProcessEnv} env
 * @returns {Promise<number>}
 */
function handOver(command, args, env) {
  const script = join(root, 'scripts', `${command}.mjs`)
  if (!existsSync(script)) throw new StepError(`there is no scripts/${command}.mjs`)
  return new Promise((resolve, reject) => {
    const child = spawn(node, [script, ...args], { cwd: root, env, stdio: 'inherit' })
    // Ctrl-C at a terminal reaches the child without us; elsewhere SIGINT was sent to us alone and is passed on.
    const terminal = [process.stdin, process.stdout, process.stderr].some((stream) => stream.isTTY)
    process.on('SIGINT', () => terminal || child.kill('SIGINT'))
    for (const signal of /** @type {const} */ (['SIGTERM', 'SIGHUP'])) process.on(signal, () => child.kill(signal))
    child.on('error', reject)
    child.on('close', (code, signal) => resolve(code ?? 128 + (signal ? constants.signals[signal] : 0)))
  })
}

function manifests() {
  return ['package.json', ...workspaces().map((path) => `${path}/package.json`)]
}

/** @param {string} output */
function whyInstallFails(output) {
  if (
    /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH|network|fetch failed|dns error|error sending request/i.test(output)
  ) {
    return 'The package registry was not reached. Check the network, and the registry and proxy settings of npm (`npm ping`).'
  }
  if (/self.signed|unable to (get|verify).*cert|UnknownIssuer|certificate/i.test(output)) {
    return 'The certificate of the package registry is not trusted. Set `cafile` in .npmrc, or NODE_EXTRA_CA_CERTS.'
  }
  if (/ENOSPC|no space left/i.test(output)) return 'The disk is full: about 1.2 GB are needed.'
  if (/EACCES|EPERM|EROFS|permission denied/i.test(output))
    return `Some file here or in the package cache is not ${user()}'s: use your own clone.`
  if (/OUTDATED_LOCKFILE|frozen-lockfile/i.test(output))
    return 'A package.json changed without the lockfile: run .tools/node_modules/.bin/pnpm install.'
  if (/EINTEGRITY|integrity/i.test(output))
    return 'What the registry sent is not what the lockfile pins. Try again; if it stays so, do not go on.'
  return undefined
}

function user() {
  const name = spawnSync('id', ['-un'], { encoding: 'utf8' }).stdout?.trim()
  return name || `uid ${process.getuid?.()}`
}

/** @param {string} file */
function readText(file) {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

/** @param {unknown} error */
function report(error) {
  if (!(error instanceof StepError)) throw error
  if (error.output) process.stderr.write(`${error.output.trimEnd()}\n`)
  process.stderr.write(`muster: ${error.message}\n`)
  if (error.fix) process.stderr.write(`muster: ${error.fix}\n`)
}
