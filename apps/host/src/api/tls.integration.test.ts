/** The API over TLS, with certificates made by openssl. */
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { connect } from '@muster/client'
import { requireSystem } from '@muster/test/require'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { muster } from '../cli/muster.test.helper.ts'
import { readTls } from '../config/tls.ts'
import { makeSite, patienceMs, type Site } from '../faults/daemon.test.helper.ts'
import { fakeVendor } from '../faults/vendors.test.helper.ts'

const timeout = 300_000
let folder: TempFolder
beforeEach(async (context) => {
  await requireSystem(context, {
    name: 'openssl',
    probe: () => {
      try {
        execFileSync('openssl', ['version'], { stdio: 'ignore' })
        return undefined
      } catch {
        return 'there is no openssl'
      }
    },
  })
  folder = await tempFolder('tls')
})
const disposals: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
  await folder[Symbol.asyncDispose]()
})

const at = (name: string): string => join(folder.path, name)

const curve = (name: string): string[] => ['-newkey', 'ec', '-pkeyopt', `ec_paramgen_curve:${name}`]

/** A certificate of its own for 127.0.0.1, as `name.crt` and `name.key`. */
function makeCertificate(name: string, days = 90, kind: readonly string[] = curve('prime256v1')): { cert: string; key: string } {
  const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost']
  const key = [...kind, '-nodes', '-keyout', at(`${name}.key`)]
  execFileSync('openssl', ['req', '-x509', ...key, '-out', at(`${name}.crt`), '-days', String(days), ...subject], {
    stdio: 'ignore',
  })
  return { cert: at(`${name}.crt`), key: at(`${name}.key`) }
}

const serves = 'at once, for new connections'
const shown = (file: string): string => {
  const { subject, validToDate } = new X509Certificate(readFileSync(file))
  return `${subject}, expires at ${validToDate.toISOString()}`
}
const fingerprint = (file: string): string => new X509Certificate(readFileSync(file)).fingerprint256

async function served(url: string): Promise<string> {
  const { hostname, port } = new URL(url)
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: hostname, port: Number(port), rejectUnauthorized: false }, () => {
      resolve(socket.getPeerX509Certificate()?.fingerprint256 ?? '')
      socket.destroy()
    })
    socket.on('error', reject)
  })
}

test('a pair that does not belong together, is no pair, is not there or has expired is said', async () => {
  const one = makeCertificate('one')
  const two = makeCertificate('two')
  const { expiresAt } = await readTls(one)
  expect(new Date(expiresAt).getTime()).toBeGreaterThan(Date.now() + 80 * 86_400_000)
  await expect(readTls({ ...one, key: two.key })).rejects.toMatchObject({
    which: 'key',
    message: 'it is not the key of the certificate',
  })
  await expect(readTls({ cert: one.key, key: one.key })).rejects.toMatchObject({ which: 'cert', message: 'it cannot be used' })
  await expect(readTls({ ...one, cert: at('none') })).rejects.toMatchObject({ which: 'cert', fix: 'name a file that exists' })
  await expect(readTls(one, expiresAt)).rejects.toMatchObject({
    which: 'cert',
    message: expect.stringMatching(/^it expired/) as string,
  })
})

test('a pair that no client could come in by is said: half a chain, a key that is too small or of a rare kind, a date to come', async () => {
  const one = makeCertificate('one')
  const chain = at('chain.crt')
  const whole = readFileSync(one.cert, 'utf8')
  const unusable = { which: 'cert', fix: expect.stringContaining('a certificate in PEM form') as string }
  for (const more of [whole.slice(0, 200), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n']) {
    writeFileSync(chain, `${whole}${more}`)
    await expect(readTls({ ...one, cert: chain })).rejects.toMatchObject(unusable)
  }
  writeFileSync(chain, `${whole}${readFileSync(makeCertificate('authority').cert, 'utf8')}`)
  expect(await readTls({ ...one, cert: chain })).toMatchObject({ subject: 'CN=one' })
  await expect(readTls(makeCertificate('small', 90, ['-newkey', 'rsa:1024']))).rejects.toMatchObject({
    ...unusable,
    message: 'it cannot be used: ee key too small',
  })
  await expect(readTls(makeCertificate('rare', 90, curve('secp256k1')))).rejects.toMatchObject({
    ...unusable,
    message: expect.stringMatching(/^no client could come in by it: .*signature/) as string,
  })
  const begins = new X509Certificate(whole).validFromDate.getTime()
  await expect(readTls(one, begins - 1)).rejects.toMatchObject({
    which: 'cert',
    message: `it is valid from ${new Date(begins).toISOString()} on`,
  })
  for (const kind of [['-newkey', 'rsa:2048'], ['-newkey', 'ed25519'], curve('secp384r1')])
    expect(await readTls(makeCertificate('usual', 90, kind))).toMatchObject({ subject: 'CN=usual' })
})

async function openSite(files: { cert: string; key: string }): Promise<Site> {
  const vendor = await fakeVendor()
  const given = vendor.files()
  const site = await makeSite({ ...given, host: `${given.host ?? ''}\ntls: { cert: ${files.cert}, key: ${files.key} }` })
  disposals.push(() => site.dispose())
  return site
}

test(
  'only a certificate that the client trusts is spoken with, and renewed files are used from the next connection on',
  { timeout },
  async () => {
    const now = makeCertificate('now')
    copyFileSync(now.cert, at('used.crt'))
    copyFileSync(now.key, at('used.key'))
    const site = await openSite({ cert: at('used.crt'), key: at('used.key') })
    await site.start()
    await site.ready()
    const { url } = JSON.parse(readFileSync(join(site.data, 'endpoint.json'), 'utf8')) as { url: string }
    const token = readFileSync(join(site.data, 'admin.token'), 'utf8').trim()
    expect(url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/)
    const stranger = connect({ url, token }, { patienceMs: 0 })
    await expect(stranger.version()).rejects.toMatchObject({
      code: 'unreachable',
      hint: expect.stringContaining('MUSTER_CA') as string,
    })
    const env = { MUSTER_URL: url, MUSTER_TOKEN: token, MUSTER_CA: now.cert }
    expect(await muster(['pools'], { cwd: folder.path, env })).toMatchObject({ code: 0 })
    const clear = await fetch(url.replace('https', 'http')).catch((error: Error) => error)
    expect(clear).toBeInstanceOf(Error)
    // A browser of somebody else's page, whatever it says of the host.
    const status = await new Promise((resolve, reject) => {
      const headers = { authorization: `Bearer ${token}`, origin: 'https://evil.example' }
      request(`${url}/v1/pools`, { ca: readFileSync(now.cert), headers }, (answer) => resolve(answer.resume().statusCode))
        .on('error', reject)
        .end()
    })
    expect(status).toBe(403)

    const next = makeCertificate('next')
    copyFileSync(next.cert, at('used.crt'))
    // Half of the pair: nothing is taken, and that is told.
    expect((await muster(['apply', '-c', site.config], { cwd: site.dir })).code).toBe(1)
    expect(await served(url)).toBe(fingerprint(now.cert))
    expect(await site.client.conditions()).toMatchObject([{ scope: 'host', name: 'api', type: 'certificate' }])
    copyFileSync(next.key, at('used.key'))
    const taken = { path: 'host.tls', kind: 'changed', before: shown(now.cert), after: shown(next.cert), effect: serves }
    const looked = await muster(['apply', '-c', site.config, '--dry-run', '--json'], { cwd: site.dir })
    expect(JSON.parse(looked.stdout.text)).toEqual({ applied: false, changes: [taken] })
    expect(await served(url)).toBe(fingerprint(now.cert))
    // What is refused for another reason leaves the certificate as well.
    const config = readFileSync(site.config, 'utf8')
    writeFileSync(site.config, `${config}\nnonsense: 1\n`)
    expect((await muster(['apply', '-c', site.config], { cwd: site.dir })).code).toBe(1)
    expect(await served(url)).toBe(fingerprint(now.cert))
    writeFileSync(site.config, config)
    const said = await muster(['apply', '-c', site.config], { cwd: site.dir })
    expect([said.code, said.stdout.text, said.stderr.text]).toEqual([
      0,
      `~ host.tls ${taken.before} → ${taken.after}  ${serves}\n`,
      'muster: in force\n',
    ])
    const again = await muster(['apply', '-c', site.config, '--json'], { cwd: site.dir })
    expect(JSON.parse(again.stdout.text)).toEqual({ applied: false, changes: [] })
    await waitFor('the next certificate', async () => (await served(url)) === fingerprint(next.cert), { timeoutMs: patienceMs })
    expect(await site.client.conditions()).toEqual([])

    const soon = makeCertificate('soon', 5)
    copyFileSync(soon.cert, at('used.crt'))
    copyFileSync(soon.key, at('used.key'))
    const pid = (JSON.parse(readFileSync(join(site.data, 'endpoint.json'), 'utf8')) as { pid: number }).pid
    process.kill(pid, 'SIGHUP')
    await waitFor(
      'the word of its end',
      async () => (await site.client.conditions())[0]?.message.includes('expires at') === true,
      {
        timeoutMs: patienceMs,
      },
    )
    await waitFor('the word of it in the log', () => site.output().includes(`"after":"${shown(soon.cert)}"`), {
      timeoutMs: patienceMs,
    })
  },
)

test('check and up refuse a certificate that is wrong, at its place', { timeout }, async () => {
  const one = makeCertificate('one')
  const two = makeCertificate('two')
  const site = await openSite({ ...one, key: two.key })
  for (const command of ['check', 'up']) {
    const { code, stdout, stderr } = await muster([command, '-c', site.config], { cwd: site.dir })
    expect([code, stdout.text + stderr.text]).toEqual([
      1,
      expect.stringMatching(/muster\.yaml:\d+:\d+: it is not the key of the certificate\n {4}fix: name the pair/) as string,
    ])
  }
  writeFileSync(two.key, readFileSync(one.key))
  chmodSync(two.key, 0o600)
  await site.start()
  await site.ready()
})
