import { describeProvider } from '@muster/core/testing'
import { findDocker } from '@muster/test/systems/docker'
import { suiteWith } from '@muster/test/systems/presence'
import { afterAll, describe, it } from 'vitest'
import { dockerSetup } from './testing/conformance.test.helper.ts'

const found = await findDocker()
const setup = found.system === undefined ? undefined : await dockerSetup(found.system.socket)

suiteWith(found, 'the Docker provider, in its own process, on a real engine,', () => {
  if (setup === undefined) return
  describeProvider('it', setup, { describe, it, afterAll })
  afterAll(() => setup.stop())
})
