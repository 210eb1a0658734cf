import { describeProvider, type TestRunner } from '@muster/core/testing'
import { suiteWith } from '@muster/test/systems/presence'
import { afterAll, describe, it } from 'vitest'
import { localSetup } from './conformance.test.helper.ts'
import { callOf, openRig } from './rig.test.helper.ts'

const rig = await openRig()
const { facts } = await rig.provider.probe(callOf())
await rig.close()
const setup = await localSetup(facts?.['limits'])

/** The one test that asks for limits because the manifest, which cannot know the machine, declares them. */
const needsLimits = 'what is granted is no less than what was asked'

const register: TestRunner['it'] = it
const runner: TestRunner = {
  describe,
  afterAll,
  it(name, run, timeoutMs) {
    if (name === needsLimits && setup.noLimits !== undefined)
      suiteWith({ name: 'cgroup', absent: setup.noLimits }, name, () => {})
    else register(name, run, timeoutMs)
  },
}

describeProvider('the local provider, in its own process,', setup, runner)

afterAll(() => setup.stop())
