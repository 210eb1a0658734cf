/**
 * Sealing of values at rest: AES-256-GCM under a key file that lies outside the database, so that a copy of the database alone shows
 * no env value, file or input. The sealed text is base64 of version, nonce, ciphertext, tag; what it belongs to is authenticated with it.
 */
import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, linkSync, openSync, readFileSync, statSync, unlinkSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { StoreError } from './store.ts'

export interface Sealer {
  /** `context` names the owner of the value (as `worker:w…`): a sealed text put into another record does not open. */
  seal(plain: string, context: string): string
  /** Throws {@link SealError} when the text was changed, cut, moved or sealed under another key. */
  open(sealed: string, context: string): string
  /** As {@link seal} and {@link open}, for bytes in files. */
  sealBytes(plain: Uint8Array, context: string): Buffer
  openBytes(sealed: Uint8Array, context: string): Buffer
  /** A digest under the key, 16 hex digits: equal for equal texts, and no way to try guesses without the key. */
  digest(text: string): string
  /** 32 bytes that nobody without the key can know, the same for the same context. */
  derive(context: string): Buffer
}

class SealError extends Error {
  override readonly name = 'SealError'
}

const VERSION = 1
export const KEY_BYTES: number = 32
/** NIST SP 800-38D: 96-bit nonces; random ones are safe for 2^32 messages of a key, far above any retention. */
const NONCE_BYTES = 12
const TAG_BYTES = 16

export function sealer(key: Uint8Array): Sealer {
  if (key.length !== KEY_BYTES) throw new SealError(`the seal key has ${key.length} bytes, not ${KEY_BYTES}`)
  // A key of its own for each use: RFC 5869.
  const digestKey = Buffer.from(hkdfSync('sha256', key, '', 'muster digest', KEY_BYTES))
  return {
    digest: (text) => createHmac('sha256', digestKey).update(text).digest('hex').slice(0, 16),
    derive: (context) => Buffer.from(hkdfSync('sha256', key, '', `muster derived ${context}`, KEY_BYTES)),
    seal: (plain, context) => sealBytes(key, Buffer.from(plain), context).toString('base64'),
    open: (sealed, context) => openBytes(key, Buffer.from(sealed, 'base64'), context).toString('utf8'),
    sealBytes: (plain, context) => sealBytes(key, plain, context),
    openBytes: (sealed, context) => openBytes(key, sealed, context),
  }
}

function sealBytes(key: Uint8Array, plain: Uint8Array, context: string): Buffer {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(context))
  const body = Buffer.concat([cipher.update(plain), cipher.final()])
  return Buffer.concat([Buffer.of(VERSION), nonce, body, cipher.getAuthTag()])
}

function openBytes(key: Uint8Array, bytes: Uint8Array, context: string): Buffer {
  if (bytes.length < 1 + NONCE_BYTES + TAG_BYTES || bytes[0] !== VERSION)
    throw new SealError('the sealed value has an unknown form')
  const nonce = bytes.subarray(1, 1 + NONCE_BYTES)
  const body = bytes.subarray(1 + NONCE_BYTES, -TAG_BYTES)
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES })
    decipher.setAAD(Buffer.from(context)).setAuthTag(bytes.subarray(-TAG_BYTES))
    return Buffer.concat([decipher.update(body), decipher.final()])
  } catch (cause) {
    throw new SealError('the sealed value does not open with this key', { cause })
  }
}

/**
 * Reads the key file, or makes it (0600, random, durable) when there is none. The file is complete or absent, also after a power cut.
 * Errors: StoreError `seal-key` when others may read it or it is not a key.
 */
export function openSealKey(path: string): Uint8Array {
  try {
    return readKey(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const part = `${path}.${process.pid}.part`
  const file = openSync(part, 'wx', 0o600)
  try {
    writeSync(file, randomBytes(KEY_BYTES))
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  try {
    linkSync(part, path)
  } catch (error) {
    // Another process was first: its key counts.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    unlinkSync(part)
  }
  syncDirectory(dirname(path))
  return readKey(path)
}

/** The key's place in a data folder. */
export function sealKeyPath(dataDir: string): string {
  return join(dataDir, 'seal.key')
}

function readKey(path: string): Uint8Array {
  const mode = statSync(path).mode & 0o777
  if ((mode & 0o077) !== 0)
    throw new StoreError('seal-key', `the seal key ${path} is open to others: its mode is 0${mode.toString(8)}`, {
      hint: `Close it: chmod 600 ${path}. Whoever had it and the store could read the env, files and inputs in it.`,
    })
  const key = readFileSync(path)
  if (key.length !== KEY_BYTES)
    throw new StoreError('seal-key', `the seal key ${path} has ${key.length} bytes, not ${KEY_BYTES}`, {
      hint: 'Put the right one back from a backup.',
    })
  return key
}

/** Makes a rename or a new name in a folder durable. */
export function syncDirectory(path: string): void {
  syncFile(path)
}

/** Makes what was written to a file durable. */
export function syncFile(path: string): void {
  const file = openSync(path, 'r')
  try {
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}
