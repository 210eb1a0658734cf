// The configuration that the first `npm start` writes: what works on this machine, and the user's from then on.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { parse } from 'yaml'
import { root } from './paths.mjs'

const usualPort = 7420

/** @typedef {{ file: string, data: string, registry: string, listen: string, written: boolean }} Config `written`: just now, here */

/**
 * The configuration of a folder; written when there is none.
 * @param {string} folder absolute path
 * @returns {Promise<Config>}
 */
export async function ensureConfig(folder) {
  const file = join(folder, 'muster.yaml')
  const written = !existsSync(file)
  // `wx`: two first starts at once, and one of them writes.
  if (written) writeFileSync(file, await defaultConfig(), { flag: 'wx' })
  return read(folder, written)
}

/**
 * The same configuration with a port that is free now, if it was written just now and another program has taken its port since.
 * @param {Config} config @param {unknown} error why the daemon did not start
 */
export async function withFreePort(config, error) {
  if (!config.written || !(error instanceof Error) || !/port \d+ is in use/.test(error.message)) throw error
  const text = readFileSync(config.file, 'utf8')
  writeFileSync(config.file, text.replace(config.listen, `127.0.0.1:${await freePort()}`))
  return read(join(config.file, '..'), true)
}

/** @param {string} folder @param {boolean} written @returns {Config} */
function read(folder, written) {
  const file = join(folder, 'muster.yaml')
  const host = parse(readFileSync(file, 'utf8'))?.host ?? {}
  return {
    file,
    data: join(folder, host.data ?? '.muster'),
    registry: join(folder, host.plugins ?? 'plugins.json'),
    listen: host.listen ?? `127.0.0.1:${usualPort}`,
    written,
  }
}

async function defaultConfig() {
  const text = readFileSync(join(root, 'scripts/lib/default-muster.yaml'), 'utf8')
  const docker = await findDocker()
  const withDocker = docker
    ? text.replaceAll('  # docker: ', '  docker: ').replace('SOCKET', docker.socket).replace('IMAGE', docker.image)
    : text.replace('SOCKET', '/var/run/docker.sock').replace('IMAGE', 'node:26')
  return withDocker.replace('PORT', String(await freePort()))
}

/** The usual port, or another one when a daemon of another folder has it. */
function freePort() {
  return new Promise((resolve, reject) => {
    const listen = (/** @type {number} */ port) => {
      const server = createServer()
      server.once('error', (error) => (port === 0 ? reject(error) : listen(0)))
      server.listen(port, '127.0.0.1', () => {
        const { port: given } = /** @type {import('node:net').AddressInfo} */ (server.address())
        server.close(() => resolve(given))
      })
    }
    listen(usualPort)
  })
}

/**
 * A container engine that answers, and an image with Node that it has already: nothing is pulled for a first look.
 * @returns {Promise<{ socket: string, image: string } | undefined>}
 */
async function findDocker() {
  const socket = (process.env['DOCKER_HOST'] ?? 'unix:///var/run/docker.sock').replace(/^unix:\/\//, '')
  if (!socket.startsWith('/')) return undefined
  /** @type {{ RepoTags?: string[] | null }[]} */
  const images = await ask(socket, '/images/json').catch(() => [])
  const tags = images.flatMap((image) => image.RepoTags ?? []).filter((tag) => /(^|\/)node:/.test(tag))
  const image = tags.find((tag) => /:26/.test(tag)) ?? tags[0]
  return image === undefined ? undefined : { socket, image }
}

/** @param {string} socket @param {string} path @returns {Promise<any>} */
function ask(socket, path) {
  return new Promise((resolve, reject) => {
    // A second is long for a list that comes from memory; an engine that hangs must not hold up the start.
    const asked = request({ socketPath: socket, path, timeout: 1000 }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk) => (text += chunk))
      response.on('end', () => {
        if (response.statusCode === 200) resolve(JSON.parse(text))
        else reject(new Error(`the engine answered ${response.statusCode}`))
      })
    })
    asked.on('timeout', () => asked.destroy(new Error('the engine is silent')))
    asked.on('error', reject)
    asked.end()
  })
}
