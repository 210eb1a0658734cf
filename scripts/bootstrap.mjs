// `npm start` and `npm test` begin here, under whatever Node the machine has. Brings the pinned Node and pnpm into .tools,
// installs, builds, and hands over to scripts/<command>.mjs under the pinned Node. What is done already is skipped.
//
// Only syntax of old Nodes in this file: it must live long enough to say that the Node is too old.
import { arch, platform, versions } from 'node:process'

const refusal = refuse()
if (refusal) {
  console.error(refusal)
  process.exitCode = 1
} else {
  const { bootstrap } = await import('./lib/bootstrap.mjs')
  process.exitCode = await bootstrap(process.argv[2] ?? 'start', process.argv.slice(3))
}

function refuse() {
  if (platform !== 'linux') return `Muster runs on Linux; this is ${platform}. Use a Linux machine, a container or WSL 2.`
  if (arch !== 'x64' && arch !== 'arm64') return `Muster brings Node for x64 and arm64; this machine is ${arch}.`
  if (Number(versions.node.split('.')[0]) < 20)
    return `npm start needs any Node from 20 on; this is ${versions.node}. Install a newer one.`
  return undefined
}
