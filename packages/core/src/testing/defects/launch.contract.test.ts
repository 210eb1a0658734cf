import { launchDefects } from './launch.test.helper.ts'
import { proveDefects } from './prove.test.helper.ts'
import { terminateDefects } from './terminate.test.helper.ts'

proveDefects('words, launch and terminate', [...launchDefects, ...terminateDefects])
