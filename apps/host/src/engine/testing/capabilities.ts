/** What a scripted provider can, unless a test says otherwise. */
import type { WorkerCapabilities } from '@muster/core'
import { plainCapabilities } from '../../plugins/testing/manifest.ts'

export const fullCapabilities: WorkerCapabilities = {
  ...plainCapabilities,
  work: ['command', 'hold'],
  fields: ['image', 'env', 'files', 'workdir', 'resources.cpu', 'resources.memoryBytes', 'labels'],
  exec: { reattach: true, stdin: true, tty: false, exitCode: true },
  watch: true,
  image: 'optional',
  envBytes: 65_536,
}
