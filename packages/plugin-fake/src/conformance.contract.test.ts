import { fileURLToPath } from 'node:url'
import { describeProvider, fakeSetup } from '@muster/core/testing'
import { afterAll, describe, it } from 'vitest'

const entry = fileURLToPath(new URL('plugin.ts', import.meta.url))
const command = [process.execPath, '--conditions=@muster/source', entry]

const setup = await fakeSetup({ command })
// Workers that only hold cost this vendor next to nothing.
setup.many = 10_000
setup.crowd = 200

describeProvider('the fake provider, in its own process,', setup, { describe, it, afterAll })

afterAll(() => setup.control.destroy())
