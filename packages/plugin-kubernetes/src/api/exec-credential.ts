/**
 * Credentials from a program, as a kubeconfig's `exec` names it: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
 *
 * The vendor's client runs it for as long as it likes, once for each request that waits, and never again after a refusal.
 */
import { execFile } from 'node:child_process'
import { isAbsolute, join } from 'node:path'
import { ApiFailure } from './failure.ts'

/** The part of a kubeconfig's user that is used. */
export interface ExecSettings {
  command?: unknown
  args?: unknown
  env?: unknown
  apiVersion?: unknown
  provideClusterInfo?: unknown
  interactiveMode?: unknown
}

export interface ExecCredential {
  token?: string
  cert?: string
  key?: string
  /** Milliseconds since 1970; absent: until it is refused. */
  expiresAt?: number
}

/** Cloud programs ask their vendor, which takes seconds; one that wants a browser would wait for ever. */
const RUN_MS = 60_000
/** A certificate, its key and a token are a few KiB. */
const MAX_OUTPUT = 1024 * 1024

/** Runs the program once. `folder` is that of the kubeconfig: commands with a slash are found from there. */
export async function runExecCredential(settings: ExecSettings, cluster: object, folder: string): Promise<ExecCredential> {
  const { command, args, env, apiVersion, interactiveMode } = settings
  if (typeof command !== 'string' || command === '') throw failed('the exec of the kubeconfig names no command')
  if (interactiveMode === 'Always') throw failed(`${command} wants a terminal, and there is none here`)
  const file = command.includes('/') && !isAbsolute(command) ? join(folder, command) : command
  const info = {
    apiVersion,
    kind: 'ExecCredential',
    spec: { interactive: false, ...(settings.provideClusterInfo === true ? { cluster } : {}) },
  }
  const output = await run(file, strings(args), {
    ...process.env,
    ...Object.fromEntries(pairs(env)),
    KUBERNETES_EXEC_INFO: JSON.stringify(info),
  })
  return read(output, command)
}

function run(file: string, args: string[], env: NodeJS.ProcessEnv): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { env, timeout: RUN_MS, killSignal: 'SIGKILL', maxBuffer: MAX_OUTPUT } as const
    const child = execFile(file, args, options, (error, stdout, stderr) => {
      // What it printed may be half a secret; what it complained of is for people.
      if (error !== null) reject(failed(`${file} failed: ${stderr.trim().slice(0, 500) || reasonOf(error)}`))
      else resolve(stdout)
    })
    child.stdin?.on('error', () => {}).end()
  })
}

function reasonOf(error: Error & { code?: unknown; killed?: boolean }): string {
  return error.killed === true ? `it ran longer than ${RUN_MS / 1000} s` : `exit ${String(error.code)}`
}

function read(output: string, command: string): ExecCredential {
  let status: unknown
  try {
    status = (JSON.parse(output) as { status?: unknown }).status
  } catch {
    throw failed(`${command} did not print an ExecCredential`)
  }
  const { token, clientCertificateData, clientKeyData, expirationTimestamp } = (status ?? {}) as Record<string, unknown>
  const [cert, key] = [clientCertificateData, clientKeyData]
  if (typeof token !== 'string' && (typeof cert !== 'string' || typeof key !== 'string'))
    throw failed(`${command} gave neither a token nor a certificate with its key`)
  const expiresAt = typeof expirationTimestamp === 'string' ? Date.parse(expirationTimestamp) : Number.NaN
  return {
    ...(typeof token === 'string' ? { token } : {}),
    ...(typeof cert === 'string' && typeof key === 'string' ? { cert, key } : {}),
    ...(Number.isNaN(expiresAt) ? {} : { expiresAt }),
  }
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.map(String) : []
}

function pairs(value: unknown): [string, string][] {
  return Array.isArray(value)
    ? (value as { name: unknown; value: unknown }[]).map((one) => [String(one.name), String(one.value)])
    : []
}

function failed(message: string): ApiFailure {
  return new ApiFailure(message, { code: 'EXEC_CREDENTIAL', sent: false })
}
